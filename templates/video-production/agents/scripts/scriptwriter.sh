#!/bin/sh
# ScriptwriterAgent: writes the script of a video from the knowledge base, in the form that its
# format and the style guide ask for. A revision answers what the committee had against the one
# before.
. "${0%/*}/lib.sh"
. "${0%/*}/video.sh"

# reasons_before: what the committee had against earlier revisions, as words.
reasons_before() {
  for _file in "data/rejected/$VIDEO"/*; do
    [ ! -f "$_file" ] || cat "$_file"
  done | tr '\n' ' '
}

# write_script: the segments, one a line, from the atoms of the topic.
write_script() {
  set --
  for id in $(printf '%s' "$T_ATOMS" | tr ',' ' '); do
    atom_file "$id"
    set -- "$@" "$ATOM"
  done
  [ "$#" -gt 0 ] || bad_data "the topic $T_SLUG names no knowledge"
  # In awk's -v, backslashes would begin escapes; there is no reason to have any.
  awk -v format="$FORMAT" -v title="$T_TITLE" -v question="$T_QUESTION" -v promise="$T_PROMISE" \
    -v channel="$(conf name 'This channel')" -v opening="$(guide opening question)" \
    -v closing="$(guide closing question)" -v words_max="$(guide words_max 420)" \
    -v seed="$((T_NO + T_CYCLE * 5))" -v reasons="$REASONS" \
    -f "${0%/*}/text.awk" -f "${0%/*}/script.awk" "$@"
}

# as_markdown: the script for people.
as_markdown() {
  printf '# %s: %s\n\n%s, revision %s\n' "$T_TITLE" "$FORMAT" "$VIDEO" "$REVISION"
  while IFS=$TAB read -r kind _ heading spoken; do
    printf '\n## %s (%s)\n\n%s\n' "$heading" "$kind" "$spoken"
  done < "$V/script.tsv"
}

generate_script() {
  take_video
  read_topic "$TOPIC"
  FORMAT=${VIDEO#"$T_DATE-$T_SLUG-"}
  case " $FORMATS " in
    *" $FORMAT "*) ;;
    *) usage "'$FORMAT' is not a format; there are: $FORMATS" ;;
  esac
  REASONS=$(reasons_before)
  mkdir -p "$V"
  write_script > "$WORK/script.$$"
  [ -s "$WORK/script.$$" ] || bad_data "no script came of $T_ATOMS"
  LC_ALL=C grep -q '[^ -~	]' "$WORK/script.$$" &&
    bad_data 'the script has characters that are not ASCII; the atoms must be mended'
  replace "$V/script.tsv" < "$WORK/script.$$"
  rm -f "$WORK/script.$$"
  write_by "$V/script.md" as_markdown
  # What is promised at the beginning and repeated at the end doesn't teach.
  # shellcheck disable=SC2016 # $1 and $4 are awk's
  write_by "$V/taught.txt" \
    awk -F "$TAB" '$1 !~ /^(hook|objectives|recap|call)$/ { print $4 }' "$V/script.tsv"
  words=$(cut -f 4 "$V/script.tsv" | wc -w)
  log "wrote $((words)) words${REASONS:+; it was sent back for: $REASONS}"
  result_begin
  result_str video "$VIDEO"
  result_str script "$V/script.md"
  result_str format "$FORMAT"
  result_num words "$((words))"
  result_num segments "$(count_lines "$V/script.tsv")"
  result_raw atoms "$(printf '%s\n' "$T_ATOMS" | tr ',' '\n' | json_list)"
  result_end
}

begin
case $MOA_ACTION in
  generate_script) generate_script ;;
  *) unknown_action generate_script ;;
esac
