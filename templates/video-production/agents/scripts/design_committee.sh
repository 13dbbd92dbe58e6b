#!/bin/sh
# DesignCommittee: three reviewers vote on changes of the style guide; `publish` writes it anew, with
# the changes if they were accepted, and without if not.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

REVIEWERS='evidence continuity audience'
RULES='title_style opening closing words_max readability_min seconds_min seconds_max'

take_week() {
  WEEK=${MOA_PARAM_WEEK:-}
  epoch_of "$WEEK"
  S=data/style/$WEEK
  [ -f "$S/proposal.tsv" ] || not_found "there is no $S/proposal.tsv; TrendScoutAgent makes it"
}

# consider REVIEWER: sets VOTE and REMARK.
consider() {
  VOTE=approve
  REMARK=''
  case $1 in
    evidence)
      while IFS=$TAB read -r rule _ _ shown p _; do
        if [ "$shown" -lt 20000 ]; then
          VOTE=reject
          REMARK="$rule rests on $shown impressions; 20000 are needed"
        elif ! awk -v p="$p" 'BEGIN { exit !(p < 0.01) }'; then
          VOTE=reject
          REMARK="$rule could be chance (p = $p)"
        fi
      done < "$S/proposal.tsv" ;;
    continuity)
      if [ "$(count_lines "$S/proposal.tsv")" -gt 2 ]; then
        VOTE=reject
        REMARK='more than two rules at once'
      fi ;;
    audience)
      while IFS=$TAB read -r rule _ new _ _ _; do
        case $rule:$new in
          title_style:plain | title_style:question | title_style:promise) ;;
          words_max:2[6-9][0-9] | words_max:[34][0-9][0-9] | words_max:5[012][0-9]) ;;
          *)
            VOTE=reject
            REMARK="$rule: $new is nothing that viewers were promised" ;;
        esac
      done < "$S/proposal.tsv" ;;
    *) usage "there is no reviewer '$1'; there are: $REVIEWERS" ;;
  esac
}

vote() {
  take_week
  reviewer=${MOA_PARAM_REVIEWER:-}
  consider "$reviewer"
  printf '%s\t%s\t%s\n' "$reviewer" "$VOTE" "${REMARK:--}" | replace "$S/votes/$reviewer.tsv"
  log "$reviewer: $VOTE${REMARK:+ ($REMARK)}"
  result_begin
  result_str reviewer "$reviewer"
  result_str vote "$VOTE"
  result_bool approve "$([ "$VOTE" = approve ] && printf true || printf false)"
  result_str remark "$REMARK"
  result_end
}

# rule_value RULE: prints its value, the proposed one if the proposal was accepted.
rule_value() {
  _new=''
  if [ "$ACCEPTED" = true ]; then
    _new=$(awk -F "$TAB" -v rule="$1" '$1 == rule { print $3 }' "$S/proposal.tsv")
  fi
  printf '%s' "${_new:-$(guide "$1" '')}"
}

write_guide() {
  sed -n '1,/^## Rules/p' CHANNEL_STYLE_GUIDE.md
  printf '\n<!-- rules -->\n'
  for rule in $RULES; do
    value=$(rule_value "$rule")
    [ -z "$value" ] || printf -- '- %s: %s\n' "$rule" "$value"
  done
  printf '<!-- end -->\n\n## Why\n\nWeek of %s. ' "$WEEK"
  if [ "$(cat "$S/source")" = model ]; then
    printf 'The numbers are those of a model of an audience, not of viewers.\n'
  else
    printf 'The numbers are those of viewers.\n'
  fi
  if [ ! -s "$S/proposal.tsv" ]; then
    printf '\nNo difference was larger than chance, so the rules stay as they were.\n'
    return 0
  fi
  printf '\n'
  verb='is changed'
  [ "$ACCEPTED" = true ] || verb='was proposed to change, and stays'
  while IFS=$TAB read -r rule old new _ _ reason; do
    printf -- '- %s %s (%s to %s): %s.\n' "$rule" "$verb" "$old" "$new" "$reason"
  done < "$S/proposal.tsv"
  for file in "$S"/votes/*.tsv; do
    [ ! -f "$file" ] || cat "$file"
  done | while IFS=$TAB read -r reviewer vote remark; do
    printf -- '- %s: %s%s\n' "$reviewer" "$vote" "$([ "$remark" = - ] || printf ' (%s)' "$remark")"
  done
}

publish() {
  take_week
  [ -f CHANNEL_STYLE_GUIDE.md ] || not_found 'there is no CHANNEL_STYLE_GUIDE.md'
  ACCEPTED=${MOA_PARAM_ACCEPTED:-}
  case $ACCEPTED in
    true | false) ;;
    *) usage "param 'accepted' is '$ACCEPTED'; what the committee decided is true or false" ;;
  esac
  # Done once for a week: a repeated attempt would take the new rules for the old ones.
  if [ ! -f "$S/published" ]; then
    if [ ! -f "$S/guide.md" ]; then write_by "$S/guide.md" write_guide; fi
    replace CHANNEL_STYLE_GUIDE.md < "$S/guide.md"
    : | replace "$S/published"
  fi
  list_files data/style | sort -r | tail -n +201 | while read -r old; do rm -f "$old"; done
  changed=0
  if [ "$ACCEPTED" = true ]; then changed=$(count_lines "$S/proposal.tsv"); fi
  log "CHANNEL_STYLE_GUIDE.md is written; accepted is $ACCEPTED"
  result_begin
  result_bool accepted "$ACCEPTED"
  result_num rules_changed "$changed"
  result_str guide CHANNEL_STYLE_GUIDE.md
  result_end
}

begin
case $MOA_ACTION in
  vote) vote ;;
  publish) publish ;;
  *) unknown_action 'vote, publish' ;;
esac
