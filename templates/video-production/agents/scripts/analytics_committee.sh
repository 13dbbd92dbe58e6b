#!/bin/sh
# AnalyticsCommittee: reads the channel's numbers, judges the tests of variants, flags videos that do
# worse than others, and says what to do. Without real numbers it takes those of a model, and says
# so wherever they appear.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

A=data/analytics

published_table() {
  for file in data/published/*.tsv; do
    [ ! -f "$file" ] || cat "$file"
  done
}

# with_video NAME: the lines of channel/videos/*/NAME, each after the name of its video.
with_video() {
  for file in channel/videos/*/"$1"; do
    [ -f "$file" ] || continue
    folder=${file%/*}
    sed "s/^/${folder##*/}$TAB/" "$file"
  done
}

# real_counts: counts.tsv of each video that has one: variant, impressions, clicks, seconds watched.
real_counts() {
  with_video counts.tsv | awk -F "$TAB" '
    NF == 5 && $2 ~ /^[ABC]$/ && $3 ~ /^[0-9]+$/ && $4 ~ /^[0-9]+$/ && $5 ~ /^[0-9]+$/ && $4 <= $3
    NF != 5 || $4 > $3 { print "counts of " $1 " are left out: " $0 > "/dev/stderr" }'
}

# real_views: what YouTube says, by video.
real_views() {
  [ -f "$A/youtube.tsv" ] || return 0
  published_table | awk -F "$TAB" -v OFS="$TAB" '
    FILENAME != "-" { views[$1] = $2; next }
    $12 in views { print $1, views[$12] }' "$A/youtube.tsv" -
}

collect() {
  take_now
  mkdir -p "$A" data/published channel/videos
  write_by "$A/published.tsv" published_table
  with_video variants.tsv > "$WORK/variants.tsv"
  real_counts > "$WORK/real.tsv"
  write_by "$A/counts.tsv" \
    awk -v now="$NOW_EPOCH" -f "${0%/*}/audience.awk" "$WORK/real.tsv" "$WORK/variants.tsv" \
    "$A/published.tsv"
  # shellcheck disable=SC2046 # words are meant
  set -- $(awk -F "$TAB" '
    { shown += $6; clicks += $7; if ($3 == "model") model = 1; else counts = 1 }
    END {
      printf "%d %d %s", shown, clicks, model && counts ? "mixed" : counts ? "counts" : "model"
    }' "$A/counts.tsv")
  if [ "$3" != counts ]; then log 'there are no real view counts: these numbers come from a model'; fi
  # The YouTube ids, fifty at most: as many as one question to YouTube may name.
  ids=$(sort -k2,2nr "$A/published.tsv" | cut -f 12 | grep -v '^-*$' | head -n 50 | json_list || true)
  result_begin
  result_str source "$3"
  result_bool simulated "$([ "$3" = counts ] && printf false || printf true)"
  result_num videos "$(count_lines "$A/published.tsv")"
  result_num impressions "$1"
  result_num clicks "$2"
  result_raw youtube_ids "${ids:-[]}"
  result_end
}

# known_winners: the tests that were judged, one a line.
known_winners() { with_video winner.tsv | awk -F "$TAB" -v OFS="$TAB" '{ print $1, $2, $3, $4, $5, $6 }'; }

# collected: there are counts; none is a count as well.
collected() { [ -f "$A/counts.tsv" ] || not_found "there is no $A/counts.tsv; collect comes first"; }

decide_tests() {
  collected
  known_winners > "$WORK/winners.tsv"
  awk -v shown_min=10000 -v hours_max=168 -f "${0%/*}/statistics.awk" -f "${0%/*}/abtest.awk" \
    "$WORK/winners.tsv" "$A/counts.tsv" > "$WORK/judged.tsv"
  judged=0
  won=0
  while IFS=$TAB read -r video variant style z p source; do
    [ -d "channel/videos/$video" ] || continue
    if printf '%s\t%s\t%s\t%s\t%s\n' "$variant" "$style" "$z" "$p" "$source" |
      make_once "channel/videos/$video/winner.tsv"; then
      judged=$((judged + 1))
      if [ "$style" != none ]; then won=$((won + 1)); fi
      log "$video: $variant ($style), z = $z, p = $p, by $source"
    fi
  done < "$WORK/judged.tsv"
  write_by "$A/winners.tsv" known_winners
  result_begin
  result_num tests_decided "$judged"
  result_num winners_found "$won"
  result_num tests_over "$(count_lines "$A/winners.tsv")"
  result_end
}

flag_underperformers() {
  collected
  write_by "$A/views.tsv" real_views
  write_by "$A/flags.tsv" \
    awk -f "${0%/*}/statistics.awk" -f "${0%/*}/flags.awk" "$A/views.tsv" "$A/counts.tsv"
  result_begin
  result_num underperforming "$(count_lines "$A/flags.tsv")"
  result_raw videos "$(cut -f 1 "$A/flags.tsv" | json_list)"
  result_end
}

recommend() {
  take_now
  collected
  for file in winners flags; do
    [ -f "$A/$file.tsv" ] || : > "$A/$file.tsv"
  done
  mkdir -p reports/analytics
  : > "$WORK/advice.txt"
  write_by reports/analytics.md \
    awk -v now="$NOW" -v advice="$WORK/advice.txt" -f "${0%/*}/statistics.awk" \
    -f "${0%/*}/report.awk" "$A/published.tsv" "$A/winners.tsv" "$A/flags.tsv" "$A/counts.tsv"
  date_of "$NOW_EPOCH"
  stamp=$(printf '%s-%.2s' "$DATE" "$CLOCK")
  replace "reports/analytics/$stamp.md" < reports/analytics.md
  # A month of reports is kept.
  list_files reports/analytics | sort -r | tail -n +121 | while read -r old; do rm -f "$old"; done
  log "see reports/analytics.md"
  result_begin
  result_str report reports/analytics.md
  result_raw recommendations "$(json_list < "$WORK/advice.txt")"
  result_end
}

begin
case $MOA_ACTION in
  collect) collect ;;
  decide_tests) decide_tests ;;
  flag_underperformers) flag_underperformers ;;
  recommend) recommend ;;
  *) unknown_action 'collect, decide_tests, flag_underperformers, recommend' ;;
esac
