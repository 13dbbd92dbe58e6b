#!/bin/sh
# QualityReviewCommittee: six reviewers, each with one concern, vote on what was measured. How many have
# to, and who has a veto, stands in the workflow. `decide` does what was decided: what is rejected goes
# back to the scriptwriter with the reasons.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

REVIEWERS='language pedagogy pacing sound originality safety'

# what NAME: sets WORD to the verdict on what was measured, VALUE_OF to its value.
what() {
  WORD=none
  VALUE_OF=''
  while IFS=$TAB read -r _name _value _ _ _verdict; do
    if [ "$_name" = "$1" ]; then
      WORD=$_verdict
      VALUE_OF=$_value
    fi
  done < "$V/review.tsv"
}

# object NAME REASON: votes against the video if what was measured isn't right.
object() {
  what "$1"
  if [ "$WORD" != ok ] && [ "$WORD" != none ]; then
    VOTE=reject
    REASON="${REASON:+$REASON }$2"
    REMARK="${REMARK:+$REMARK, }$1 is $VALUE_OF"
  fi
}

# consider REVIEWER: sets VOTE (approve, reject, abstain), REASON and REMARK.
consider() {
  VOTE=approve
  REASON=''
  REMARK=''
  case $1 in
    language)
      object readability readability
      object words_a_sentence readability ;;
    pedagogy)
      object coverage coverage
      object worst_objective coverage
      object objectives coverage ;;
    pacing)
      what seconds
      object seconds "too_$([ "$WORD" = low ] && printf short || printf long)"
      object words_a_minute pace ;;
    sound)
      what loudness_db
      if [ "$WORD" = none ]; then
        VOTE=abstain
        REMARK='there is nothing to hear'
      fi
      object loudness_db loudness
      object silence silence
      object longest_silence silence ;;
    originality) object similar originality ;;
    safety) object risks_without_safety safety ;;
    *) usage "there is no reviewer '$1'; there are: $REVIEWERS" ;;
  esac
}

vote() {
  take_video
  need "$V/review.tsv" VideoQualityReviewerAgent
  reviewer=${MOA_PARAM_REVIEWER:-}
  consider "$reviewer"
  printf '%s\t%s\t%s\t%s\n' "$reviewer" "$VOTE" "${REASON:--}" "${REMARK:--}" |
    replace "$V/votes/$reviewer.tsv"
  log "$reviewer: $VOTE${REMARK:+ ($REMARK)}"
  result_begin
  result_str reviewer "$reviewer"
  result_str vote "$VOTE"
  result_bool approve "$([ "$VOTE" = approve ] && printf true || printf false)"
  result_str reason "$REASON"
  result_str remark "$REMARK"
  result_end
}

# count_votes: sets FOR, AGAINST, ABSTAINED, and REASONS, what those against it say.
count_votes() {
  FOR=0
  AGAINST=0
  ABSTAINED=0
  REASONS=''
  for _reviewer in $REVIEWERS; do
    [ -f "$V/votes/$_reviewer.tsv" ] || continue
    IFS=$TAB read -r _ _vote _reason _ < "$V/votes/$_reviewer.tsv" || continue
    case $_vote in
      approve) FOR=$((FOR + 1)) ;;
      reject)
        AGAINST=$((AGAINST + 1))
        REASONS="$REASONS$_reason " ;;
      *) ABSTAINED=$((ABSTAINED + 1)) ;;
    esac
  done
}

# send_back: writes down what the committee has against this revision, once, and frees the video.
send_back() {
  printf '%s\n' "$REASONS" | make_once "data/rejected/$VIDEO/$REVISION" || true
  rm -f "data/claims/$VIDEO"
}

decide() {
  take_video
  need "$V/review.tsv" VideoQualityReviewerAgent
  approved=${MOA_PARAM_APPROVED:-}
  case $approved in
    true | false) ;;
    *) usage "param 'approved' is '$approved'; what the committee decided is true or false" ;;
  esac
  count_votes
  printf '%s\t%d\t%d\t%d\t%s\n' "$approved" "$FOR" "$AGAINST" "$ABSTAINED" "${REASONS:--}" |
    replace "$V/verdict.tsv"
  if [ "$approved" = false ]; then send_back; fi
  log "$FOR for it, $AGAINST against it: approved is $approved"
  result_begin
  result_bool approved "$approved"
  result_num votes_for "$FOR"
  result_num votes_against "$AGAINST"
  result_num abstained "$ABSTAINED"
  result_raw reasons "$(printf '%s' "$REASONS" | tr ' ' '\n' | sort -u | grep . | json_list || printf '[]')"
  result_num videos_approved "$([ "$approved" = true ] && printf 1 || printf 0)"
  result_num videos_rejected "$([ "$approved" = true ] && printf 0 || printf 1)"
  result_end
}

begin
case $MOA_ACTION in
  vote) vote ;;
  decide) decide ;;
  *) unknown_action 'vote, decide' ;;
esac
