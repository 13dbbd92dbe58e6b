#!/bin/sh
# YouTubeUploaderAgent: the batch that publishes what is ready: into the folder channel/ in any
# case; the workflow sends it to YouTube too when there are credentials. Every upload is accounted
# with the quota units that YouTube would charge; what exceeds the day's waits for the next batch.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

# reserve VIDEO: whether there is quota for it today. Asked again, it answers the same.
reserve() {
  if [ -f "$DAY_DIR/$1" ]; then return 0; fi
  if [ $((USED + UNITS)) -gt "$DAILY" ]; then return 1; fi
  printf '%s\n' "$UNITS" | make_once "$DAY_DIR/$1" || return 0
  USED=$((USED + UNITS))
}

# sum_units: sets USED, the units of DAY_DIR.
sum_units() {
  USED=0
  for _file in "$DAY_DIR"/*; do
    [ -f "$_file" ] || continue
    read -r _units < "$_file" && USED=$((USED + _units))
  done
}

# ready_in_order: what is ready and not published, the oldest first.
ready_in_order() {
  for _file in data/ready/*.tsv; do
    [ -f "$_file" ] || continue
    IFS=$TAB read -r _video _at _ < "$_file" || continue
    [ -f "data/published/$_video.tsv" ] || printf '%s\t%s\n' "$_at" "$_video"
  done | sort -k1,1n -k2,2 | cut -f 2
}

plan() {
  take_now
  pacific_day "$NOW_EPOCH"
  DAY=$DATE
  DAY_DIR=data/quota/$DAY
  UNITS=$(conf_number upload_units 1600)
  DAILY=$(conf_number daily_units 10000)
  mkdir -p "$DAY_DIR" data/ready data/published
  sum_units
  list=''
  waiting=0
  for video in $(ready_in_order); do
    if reserve "$video"; then
      list="${list:+$list,}\"$video\""
    else
      waiting=$((waiting + 1))
    fi
  done
  log "quota day $DAY: $USED of $DAILY units${waiting:+, $waiting videos wait}"
  result_begin
  result_str quota_day "$DAY"
  result_raw videos "[$list]"
  result_num waiting "$waiting"
  result_num units_used "$USED"
  result_num units_left $((DAILY - USED))
  result_end
}

# take_ready: sets VIDEO and what data/ready knows about it.
take_ready() {
  VIDEO=${MOA_PARAM_VIDEO:-}
  safe_name video "$VIDEO"
  FOLDER=channel/videos/$VIDEO
  READY=data/ready/$VIDEO.tsv
  [ -f "$READY" ] || READY=data/published/$VIDEO.tsv
  [ -f "$READY" ] || not_found "$VIDEO is not ready: there is no data/ready/$VIDEO.tsv"
  REVISION=$(column "$READY" 5)
  V=data/videos/$VIDEO/r$REVISION
}

# metadata: what a platform needs to know, as JSON.
metadata() {
  result_begin
  result_str video "$VIDEO"
  result_str title "$(awk -F "$TAB" '$1 == "A" { print $3 }' "$V/variants.tsv")"
  result_str description "$(cat "$V/description-A.txt")"
  result_raw tags "$(json_list < "$V/tags.txt")"
  result_str category "$(conf youtube_category 27)"
  result_str language "$(conf language en)"
  result_num seconds "$(column "$READY" 7)"
  result_str rendered "$(column "$READY" 9)"
  _variants=''
  while IFS=$TAB read -r _variant _style _title; do
    quote "$_title"
    _variants="${_variants:+$_variants,}{\"variant\":\"$_variant\",\"style\":\"$_style\",\"title\":$QUOTED}"
  done < "$V/variants.tsv"
  result_raw variants "[$_variants]"
  printf '{%s}\n' "$RESULT"
}

# copy_files DIR: what is published.
copy_files() {
  cp "$V/captions.srt" "$V/chapters.tsv" "$V/narration.txt" "$V/taught.txt" "$V/script.md" "$V/plan.md" \
    "$V/review.json" "$V/variants.tsv" "$V/tags.txt" "$V"/description-?.txt "$V"/thumbnail-?.* "$1"
  { printf 'WEBVTT\n\n'; sed '/-->/s/,/./g' "$V/captions.srt"; } \
    > "$1/captions.vtt"
  if [ -s "$V/video.mp4" ]; then
    cp "$V/video.mp4" "$1"
  else
    cp -R "$V/storyboard" "$V/storyboard.html" "$1"
    if [ -s "$V/narration.wav" ]; then cp "$V/narration.wav" "$1"; fi
  fi
  metadata > "$1/metadata.json"
  awk -v channel="$(conf name 'This channel')" -v kind="$(column "$READY" 9)" \
    -f "${0%/*}/html.awk" -f "${0%/*}/watch.awk" "$V/variants.tsv" "$V/description-A.txt" > "$1/index.html"
}

publish() {
  take_ready
  if [ ! -d "$FOLDER" ]; then
    need "$V/variants.tsv" ABTestOrchestratorAgent
    mkdir -p channel/videos
    rm -rf "channel/.new-$VIDEO".*
    new=channel/.new-$VIDEO.$$
    mkdir "$new"
    copy_files "$new"
    mv "$new" "$FOLDER"
    log "$FOLDER is published"
  fi
  thumbnail=''
  if [ -f "$FOLDER/thumbnail-A.png" ]; then thumbnail=$FOLDER/thumbnail-A.png; fi
  file=''
  if [ -s "$FOLDER/video.mp4" ]; then file=$FOLDER/video.mp4; fi
  result_begin
  result_str video "$VIDEO"
  result_str page "$FOLDER/index.html"
  result_bool mp4 "$([ -n "$file" ] && printf true || printf false)"
  result_str file "$file"
  result_str thumbnail "$thumbnail"
  result_str title "$(awk -F "$TAB" '$1 == "A" { print $3 }' "$FOLDER/variants.tsv")"
  result_str description "$(cat "$FOLDER/description-A.txt")"
  result_raw tags "$(json_list < "$FOLDER/tags.txt")"
  result_str category "$(conf youtube_category 27)"
  result_str privacy "$(conf youtube_privacy private)"
  result_str language "$(conf language en)"
  result_end
}

# record: the upload is done. What it was made of is no longer needed.
record() {
  take_now
  take_ready
  [ -d "$FOLDER" ] || not_found "$FOLDER is not there; publish comes first"
  new=0
  if [ ! -f "data/published/$VIDEO.tsv" ]; then
    awk -F "$TAB" -v OFS="$TAB" -v at="$NOW_EPOCH" -v youtube="${MOA_PARAM_YOUTUBE_ID:--}" '
      { ready = $2; $2 = at; $12 = youtube; $13 = ready; print }' "$READY" > "$WORK/row.tsv"
    if make_once "data/published/$VIDEO.tsv" < "$WORK/row.tsv"; then new=1; fi
  fi
  rm -rf "data/ready/$VIDEO.tsv" "data/videos/$VIDEO" "data/claims/$VIDEO"
  result_begin
  result_str video "$VIDEO"
  result_str youtube_id "$(column "data/published/$VIDEO.tsv" 12)"
  result_num videos_uploaded "$new"
  result_end
}

# build_index: the page of the channel, and a table of all videos for programs.
build_index() {
  mkdir -p channel data/published
  for file in data/published/*.tsv; do
    [ ! -f "$file" ] || cat "$file"
  done | sort -k2,2nr -k1,1 > "$WORK/published.tsv"
  for file in channel/videos/*/winner.tsv; do
    [ -f "$file" ] || continue
    folder=${file%/*}
    printf 'winner\t%s\t%s\n' "${folder##*/}" "$(column "$file" 1)"
  done > "$WORK/winners.tsv"
  write_by channel/index.html \
    awk -F "$TAB" -v channel="$(conf name 'This channel')" -f "${0%/*}/html.awk" \
    -f "${0%/*}/index.awk" \
    "$WORK/winners.tsv" "$WORK/published.tsv"
  replace channel/videos.tsv < "$WORK/published.tsv"
  result_begin
  result_str page channel/index.html
  result_num videos "$(count_lines "$WORK/published.tsv")"
  result_end
}

# older_than NAME DAYS: whether something whose name begins with a date is older.
older_than() {
  case $1 in
    [12][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]*) ;;
    *) return 1 ;;
  esac
  epoch_of "$(printf '%.10s' "$1")"
  [ "$EPOCH" -lt $((NOW_EPOCH - $2 * 86400)) ]
}

# tidy: takes away media that are older than the channel keeps them, and what crashes left behind.
tidy() {
  take_now
  keep=$(conf_number keep_media_days 90)
  removed=0
  for folder in channel/videos/*; do
    [ -d "$folder" ] || continue
    if older_than "${folder##*/}" "$keep" &&
      { [ -e "$folder/video.mp4" ] || [ -e "$folder/storyboard" ]; }; then
      rm -rf "$folder/video.mp4" "$folder/narration.wav" "$folder/storyboard" \
        "$folder/storyboard.html" "$folder"/thumbnail-?.png
      removed=$((removed + 1))
    fi
  done
  for folder in data/quota/*; do
    if [ -d "$folder" ] && older_than "${folder##*/}" 30; then rm -rf "$folder"; fi
  done
  for folder in data/videos/*; do
    [ -d "$folder" ] || continue
    video=${folder##*/}
    if [ -f "data/published/$video.tsv" ]; then
      rm -rf "data/ready/$video.tsv" "$folder" "data/claims/$video"
    elif older_than "$video" 30 && [ ! -f "data/ready/$video.tsv" ]; then
      rm -rf "$folder"
    fi
  done
  result_begin
  result_num media_removed "$removed"
  result_end
}

begin
case $MOA_ACTION in
  plan) plan ;;
  publish) publish ;;
  record) record ;;
  build_index) build_index ;;
  tidy) tidy ;;
  *) unknown_action 'plan, publish, record, build_index, tidy' ;;
esac
