#!/bin/sh
# Data Extraction: turns an access log into a table that other programs can read.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

extract_data() {
  find_log
  name=${LOG##*/}
  file=out/${name%.log}.csv
  rows=0 unread=0
  {
    printf 'time,release,method,path,status,ms\n'
    while read -r time release method path status ms rest; do
      case $time:$status:$ms in
        [0-9]*T*Z:[1-5][0-9][0-9]:*[!0-9]* | [0-9]*T*Z:[1-5][0-9][0-9]:) unread=$((unread + 1)) ;;
        [0-9]*T*Z:[1-5][0-9][0-9]:*)
          rows=$((rows + 1))
          printf '%s,%s,%s,%s,%s,%s\n' "$time" "$release" "$method" "$path" "$status" "$ms" ;;
        *) unread=$((unread + 1)) ;;
      esac
    done < "$LOG"
    printf '%d %d\n' "$rows" "$unread" > "$WORK/extract.$$"
  } | replace "$file"
  read -r rows unread < "$WORK/extract.$$"
  rm -f "$WORK/extract.$$"
  if [ "$unread" -gt 0 ]; then log "$unread lines of $LOG have another form and were left out"; fi

  result_begin
  result_str log "$LOG"
  result_str file "$file"
  result_num rows "$rows"
  result_num unread_lines "$unread"
  result_num bytes "$(count_bytes "$file")"
  result_end
}

begin
case $MOA_ACTION in
  extract_data) extract_data ;;
  *) unknown_action extract_data ;;
esac
