#!/bin/sh
# ContentCuratorAgent: which topic comes next, which video is to be made of it, and what the channel
# has not covered yet.
#
# A row of the calendar and a day are joined by two links that can each be made only once: first
# data/used/CYCLE-NO names the day, then data/topics/DAY the row. So a day has one topic and a topic
# one day in each cycle, whoever asks, how often, and wherever an attempt was cut off.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

CALENDAR=calendar/topics.tsv

rows() { grep -v '^#' "$CALENDAR"; }

# read_calendar: sets ROWS, how many topics the calendar has; checks that it is one.
read_calendar() {
  [ -f "$CALENDAR" ] || not_found "there is no $CALENDAR"
  awk -F "$TAB" '
    /^#/ { next }
    NF != 8 { print "line " NR " has " NF " columns; 8 are needed"; exit 1 }
    seen[$1]++ || slug[$2]++ { print "line " NR ": the number or the name is there twice"; exit 1 }
    $1 !~ /^[0-9]+$/ || $2 !~ /^[a-z0-9][a-z0-9-]*$/ || length($2) > 37 {
      print "line " NR ": not a number, or not a name of at most 37 of a-z, 0-9 and -"; exit 1
    }
    END { if (NR == 0) { print "it is empty"; exit 1 } }' "$CALENDAR" > "$WORK/calendar.$$" ||
    bad_data "$CALENDAR: $(cat "$WORK/calendar.$$")"
  rm -f "$WORK/calendar.$$"
  ROWS=$(rows | wc -l)
  ROWS=$((ROWS))
}

# current_cycle: sets CYCLE, the cycle that is under way on TODAY, and LEFT, its topics to come.
current_cycle() {
  CYCLE=1
  _count=0
  for _file in data/used/*; do
    [ -f "$_file" ] || continue
    _name=${_file##*/}
    case $_name in *.*) continue ;; esac
    _of=${_name%%-*}
    if [ "$_of" -gt "$CYCLE" ]; then
      CYCLE=$_of
      _count=0
    fi
    if [ "$_of" -eq "$CYCLE" ]; then _count=$((_count + 1)); fi
  done
  if [ "$_count" -ge "$ROWS" ]; then
    CYCLE=$((CYCLE + 1))
    _count=0
  fi
  LEFT=$((ROWS - _count))
}

# in_order: prints the numbers of the calendar's topics as they should come: in the first cycle as
# they stand; later, those that close a gap first.
in_order() {
  if [ "$CYCLE" -gt 1 ] && [ -f data/gaps.tsv ]; then
    rows | awk -F "$TAB" '
      FILENAME != "-" { gap[$1] = $2; next }
      { printf "%d\t%d\n", gap[$1] + 0, $1 }' data/gaps.tsv - | sort -k1,1nr -k2,2n | cut -f 2
  else
    rows | cut -f 1 | sort -n
  fi
}

# claim_row NO: whether row NO of this cycle is, or has become, the topic of TODAY. A claim of a day
# that then got another topic is void.
claim_row() {
  _use=data/used/$CYCLE-$1
  if printf '%s\n' "$TODAY" | make_once "$_use"; then return 0; fi
  _day=$(cat "$_use")
  if [ "$_day" = "$TODAY" ]; then return 0; fi
  if [ -f "data/topics/$_day.tsv" ]; then
    read_topic "data/topics/$_day.tsv"
    if [ "$T_CYCLE-$T_NO" != "$CYCLE-$1" ]; then
      rm -f "$_use"
      printf '%s\n' "$TODAY" | make_once "$_use" && return 0
    fi
  fi
  return 1
}

# choose_topic: makes sure that TODAY has a topic; NEW says whether it got one now.
choose_topic() {
  NEW=false
  while [ ! -f "data/topics/$TODAY.tsv" ]; do
    current_cycle
    chosen=''
    for number in $(in_order); do
      if claim_row "$number"; then
        chosen=$number
        break
      fi
    done
    # Everything was used up between counting and claiming: the next cycle has begun.
    [ -n "$chosen" ] || continue
    row=$(rows | awk -F "$TAB" -v no="$chosen" '$1 == no')
    if printf '%s\t%s\t%s\n' "$TODAY" "$CYCLE" "$row" | make_once "data/topics/$TODAY.tsv"; then
      NEW=true
      log "the topic of $TODAY is number $chosen of cycle $CYCLE"
    else
      rm -f "data/used/$CYCLE-$chosen"
    fi
  done
}

pick() {
  take_now
  read_calendar
  mkdir -p data/used data/topics
  choose_topic
  current_cycle
  read_topic "data/topics/$TODAY.tsv"
  result_begin
  result_str date "$T_DATE"
  result_num cycle "$T_CYCLE"
  result_num number "$T_NO"
  result_str slug "$T_SLUG"
  result_str topic "$T_TITLE"
  result_str area "$T_AREA"
  result_str level "$T_LEVEL"
  result_raw atoms "$(printf '%s\n' "$T_ATOMS" | tr ',' '\n' | json_list)"
  result_num topics_left "$LEFT"
  result_num topics_curated "$([ "$NEW" = true ] && printf 1 || printf 0)"
  result_end
}

# ---- Which video -----------------------------------------------------------------------------------

count_files() {
  _n=0
  for _one in "$1"/*; do
    [ ! -e "$_one" ] || _n=$((_n + 1))
  done
  printf '%d' "$_n"
}

# is_open VIDEO: whether somebody should still produce it.
is_open() {
  if [ -f "data/ready/$1.tsv" ] || [ -f "data/published/$1.tsv" ]; then return 1; fi
  _tries=$(($(count_files "data/rejected/$1") + $(count_files "data/failures/$1")))
  [ "$_tries" -lt "$TRIES_MAX" ]
}

# take VIDEO: whether it is ours to produce.
take() {
  _claim=data/claims/$1
  if printf '%s\t%s\n' "$KEY" "$NOW_EPOCH" | make_once "$_claim"; then return 0; fi
  IFS=$TAB read -r _key _at < "$_claim" || return 1
  if [ "$_key" = "$KEY" ]; then return 0; fi
  if [ $((NOW_EPOCH - _at)) -lt "$CLAIM_SECONDS" ]; then return 1; fi
  # Whoever moves the old claim away may try for the new one.
  mv "$_claim" "data/claims/.old-$(short_key)" 2>/dev/null || return 1
  rm -f "data/claims/.old-$(short_key)"
  log "the claim on $1 is older than $((CLAIM_SECONDS / 3600)) hours and is taken over"
  printf '%s\t%s\n' "$KEY" "$NOW_EPOCH" | make_once "$_claim"
}

# find_claimed: sets CHOSEN to the video that an earlier attempt of this step has claimed.
find_claimed() {
  CHOSEN=''
  for _claim in data/claims/*; do
    [ -f "$_claim" ] || continue
    IFS=$TAB read -r _key _ < "$_claim" || continue
    if [ "$_key" = "$KEY" ]; then
      CHOSEN=${_claim##*/}
      return 0
    fi
  done
  return 1
}

# find_open: sets CHOSEN to a video that was open and is claimed now: of the newest topic first.
find_open() {
  for _topic in $(list_files data/topics | sort -r | head -n 14); do
    read_topic "$_topic"
    # A topic of a day to come was picked by somebody who asked for that day.
    epoch_of "$T_DATE"
    if [ "$EPOCH" -gt "$NOW_EPOCH" ]; then continue; fi
    for _format in $FORMATS; do
      CHOSEN=$T_DATE-$T_SLUG-$_format
      if is_open "$CHOSEN" && take "$CHOSEN"; then return 0; fi
    done
  done
  CHOSEN=''
  return 1
}

claim() {
  take_now
  mkdir -p data/claims data/topics data/videos
  TRIES_MAX=$(conf_number tries_max 3)
  CLAIM_SECONDS=$(($(conf_number claim_hours 12) * 3600))
  if ! find_claimed && ! find_open; then
    log 'every video of the last two weeks is made, given up, or being made'
    result_begin
    result_bool found false
    result_end
    return 0
  fi
  day=$(printf '%.10s' "$CHOSEN")
  [ -f "data/topics/$day.tsv" ] || bad_data "$CHOSEN has no topic at data/topics/$day.tsv"
  replace "data/videos/$CHOSEN/topic.tsv" < "data/topics/$day.tsv"
  read_topic "data/topics/$day.tsv"
  revision=$(($(count_files "data/rejected/$CHOSEN") + 1))
  log "to be made: $CHOSEN, revision $revision"
  result_begin
  result_bool found true
  result_str video "$CHOSEN"
  result_str topic "$T_TITLE"
  result_str format "${CHOSEN#"$T_DATE-$T_SLUG-"}"
  result_num revision "$revision"
  result_end
}

# release: gives back the claim of this run after a failure, and counts it.
release() {
  result_begin
  result_bool released false
  if find_run_claim; then
    mkdir -p "data/failures/$CHOSEN"
    printf '%s\n' "${MOA_PARAM_REASON:-no reason was given}" |
      make_once "data/failures/$CHOSEN/$RUN" || true
    rm -f "data/claims/$CHOSEN"
    log "$CHOSEN is given back"
    result_begin
    result_bool released true
    result_str video "$CHOSEN"
  fi
  result_end
}

# find_run_claim: sets CHOSEN to the video that any step of this run has claimed.
find_run_claim() {
  for _claim in data/claims/*; do
    [ -f "$_claim" ] || continue
    IFS=$TAB read -r _key _ < "$_claim" || continue
    case $_key in
      "$RUN"/*)
        CHOSEN=${_claim##*/}
        return 0 ;;
    esac
  done
  return 1
}

# ---- Gaps ------------------------------------------------------------------------------------------

# atoms_table: prints a line for each knowledge atom: id, area, risk, what it requires.
atoms_table() {
  for file in knowledge/*/*.md; do
    [ -f "$file" ] || continue
    id=${file##*/}
    printf '%s\t%s\t%s\t%s\n' "${id%.md}" "$(atom_meta "$file" area)" \
      "$(atom_meta "$file" risk)" "$(atom_meta "$file" requires | tr -d ' ')"
  done
}

# made_table: prints a line for each video that is ready or published: its format and its atoms.
made_table() {
  for file in data/ready/*.tsv data/published/*.tsv; do
    [ -f "$file" ] || continue
    awk -F "$TAB" 'NR == 1 { print $1 "\t" $3 "\t" $4 }' "$file"
  done | sort -u
}

# given_up_table: prints a line for each video that was tried too often.
given_up_table() {
  for folder in data/rejected/* data/failures/*; do
    [ -d "$folder" ] || continue
    video=${folder##*/}
    if ! is_open "$video" && [ ! -f "data/ready/$video.tsv" ] &&
      [ ! -f "data/published/$video.tsv" ]; then
      printf '%s\n' "$video"
    fi
  done | sort -u
}

analyze_gaps() {
  take_now
  read_calendar
  TRIES_MAX=$(conf_number tries_max 3)
  mkdir -p data reports
  atoms_table > "$WORK/atoms.tsv"
  made_table > "$WORK/made.tsv"
  given_up_table > "$WORK/given-up.txt"
  awk -F "$TAB" -v out="$WORK" -f "${0%/*}/gaps.awk" \
    "$WORK/atoms.tsv" "$WORK/made.tsv" "$WORK/given-up.txt" "$CALENDAR" > "$WORK/summary.tsv"
  replace data/gaps.tsv < "$WORK/gaps.tsv"
  {
    printf '# Gaps in what the channel covers\n\nAs of %s.\n\n' "$NOW"
    cat "$WORK/gaps.md"
  } > "$WORK/report.md"
  replace reports/gaps.md < "$WORK/report.md"
  IFS=$TAB read -r atoms covered missing unknown given_up first < "$WORK/summary.tsv" ||
    bad_data 'the analysis gave no summary'
  log "$covered of $atoms atoms are covered; see reports/gaps.md"
  result_begin
  result_num atoms "$atoms"
  result_num covered "$covered"
  result_num missing "$missing"
  result_num unknown "$unknown"
  result_num given_up "$given_up"
  result_num coverage "$(ratio "$covered" "$atoms")"
  result_num backfill_first "$first"
  result_str report reports/gaps.md
  result_end
}

begin
case $MOA_ACTION in
  pick) pick ;;
  claim) claim ;;
  release) release ;;
  analyze_gaps) analyze_gaps ;;
  *) unknown_action 'pick, claim, release, analyze_gaps' ;;
esac
