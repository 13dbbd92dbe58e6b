#!/bin/sh
# TrendScoutAgent: looks for what works, in the numbers of the channel itself (it asks no other
# service), and proposes changes of the style guide's rules. It changes nothing.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

analyze() {
  take_now
  [ -f data/analytics/counts.tsv ] || not_found 'there are no numbers yet; analytics makes them'
  S=data/style/$TODAY
  write_by "$S/proposal.tsv" \
    awk -v title_style="$(guide title_style plain)" -v words_max="$(guide words_max 420)" \
    -v hours_max=336 -f "${0%/*}/statistics.awk" -f "${0%/*}/trends.awk" \
    data/analytics/published.tsv data/analytics/counts.tsv
  changes=$(count_lines "$S/proposal.tsv")
  source=model
  if ! cut -f 3 data/analytics/counts.tsv | grep -q model; then source=counts; fi
  printf '%s\n' "$source" | replace "$S/source"
  while IFS=$TAB read -r rule old new _ _ reason; do
    log "$rule: $old to $new, because $reason"
  done < "$S/proposal.tsv"
  result_begin
  result_str week "$TODAY"
  result_num changes "$changes"
  result_str source "$source"
  result_str proposal "$S/proposal.tsv"
  result_end
}

begin
case $MOA_ACTION in
  analyze) analyze ;;
  *) unknown_action analyze ;;
esac
