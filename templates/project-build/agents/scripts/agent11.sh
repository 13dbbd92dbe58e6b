#!/bin/sh
# Accessibility Checker: checks an application's pages for what people with a screen reader or a
# keyboard need; and puts readings into words and tables that people can read (analyze_data).
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"
. "${0%/*}/csv.sh"

finding() { # finding PAGE WHAT
  log "$1: $2"
  quote "$1: $2"
  findings="${findings:+$findings,}$QUOTED"
}

# tags NAME TEXT: every opening tag NAME of TEXT, one a line, without its brackets.
tags() {
  _left=$2
  while :; do
    case $_left in *"<$1"[\ \>]*) ;; *) return 0 ;; esac
    _left=${_left#*"<$1"}
    printf '%s\n' "${_left%%>*}"
  done
}

check_page() { # check_page FILE
  page=${1##*/}
  text=$(tr '\n\t' '  ' < "$1")
  case $text in *'<html lang="'[a-z]*) ;; *) finding "$page" 'the language of the page is not said' ;; esac
  case $text in *'<title>'?*'</title>'*) ;; *) finding "$page" 'there is no title' ;; esac
  case $text in *'<h1>'?*'</h1>'*) ;; *) finding "$page" 'there is no main heading' ;; esac
  case $text in *'name="viewport"'*) ;; *) finding "$page" 'it cannot be enlarged on a phone: no viewport' ;; esac
  tags img "$text" > "$notes"
  while read -r tag; do
    case $tag in *alt=\"*) ;; *) finding "$page" 'an image has no text in its place' ;; esac
  done < "$notes"
  tags a "$text" > "$notes"
  while read -r tag; do
    case $tag in *href=*) ;; *) finding "$page" 'a link leads nowhere and cannot be reached by keyboard' ;; esac
  done < "$notes"
  case $text in
    *'<table'*)
      case $text in *'<th '*scope=*) ;; *) finding "$page" 'a table has no headings with a scope' ;; esac
      case $text in *'<caption>'?*) ;; *) finding "$page" 'a table has no caption' ;; esac ;;
  esac
  case $text in *tabindex=\"[1-9]*) finding "$page" 'the order of the keyboard is changed by tabindex' ;; esac
}

check_accessibility() {
  find_app
  notes=$WORK/tags.$$.txt
  findings='' pages=0
  list_files "$APP_DIR/public" > "$notes.files"
  while read -r file; do
    case $file in *.html) ;; *) continue ;; esac
    pages=$((pages + 1))
    check_page "$file"
  done < "$notes.files"
  rm -f "$notes" "$notes.files"
  [ "$pages" -gt 0 ] || not_found "$APP_DIR/public has no pages"
  passed=true
  if [ -n "$findings" ]; then passed=false; fi

  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_num pages "$pages"
  result_raw findings "[$findings]"
  result_end
}

# sensor_done: adds the sensor that has just been read through to the analysis and to the report.
sensor_done() {
  [ "$count" -gt 0 ] || return 0
  sensors=$((sensors + 1))
  divide "$sum" "$count"
  from_fixed "$QUOTIENT" 1; mean_text=$DECIMAL
  from_fixed "$low" 1; low_text=$DECIMAL
  from_fixed "$high" 1; high_text=$DECIMAL
  quote "$sensor"
  parts="${parts:+$parts,}{\"sensor\":$QUOTED,\"readings\":$count,\"mean\":$mean_text"
  parts="$parts,\"min\":$low_text,\"max\":$high_text,\"humidity\":$((wet / count))}"
  printf '| %s | %d | %s | %s | %s | %d %% |\n' "$sensor" "$count" "$mean_text" "$low_text" \
    "$high_text" $((wet / count)) >> "$table"
}

# analyze_data: per sensor how many readings, mean, lowest, highest; the result as JSON and as a
# report with a caption and a table with headings.
analyze_data() {
  valid=$WORK/data/valid.csv
  if input_get valid; then valid=$VALUE; fi
  [ -f "$valid" ] || not_found "there is no $valid; run validate_data first"
  sorted=$WORK/data/sorted.$$.txt
  table=$WORK/data/table.$$.txt
  tail -n +2 "$valid" | sort -t , -k 2,2 -k 1,1 > "$sorted"
  : > "$table"
  sensor='' parts='' sensors=0 count=0 readings=0 first='' last=''
  while IFS= read -r line; do
    csv_split "$line"
    if [ "$F2" != "$sensor" ]; then
      sensor_done
      sensor=$F2 count=0 sum=0 wet=0 low=9999 high=-9999
    fi
    to_fixed "$F3" 1
    count=$((count + 1))
    readings=$((readings + 1))
    sum=$((sum + FIXED))
    wet=$((wet + F4))
    if [ "$FIXED" -lt "$low" ]; then low=$FIXED; fi
    if [ "$FIXED" -gt "$high" ]; then high=$FIXED; fi
  done < "$sorted"
  sensor_done
  [ "$readings" -gt 0 ] || bad_data "$valid has no readings"
  first=$(cut -d , -f 1 "$sorted" | sort | head -n 1)
  last=$(cut -d , -f 1 "$sorted" | sort | tail -n 1)
  analysis="{\"from\":\"$first\",\"to\":\"$last\",\"readings\":$readings,\"sensors\":[$parts]}"
  printf '%s\n' "$analysis" | replace "$WORK/data/analysis.json"
  {
    printf '# Readings\n\n%d readings of %d sensors, from %s to %s.\n\n' \
      "$readings" "$sensors" "$first" "$last"
    printf '| Sensor | Readings | Mean °C | Lowest | Highest | Humidity |\n|---|--:|--:|--:|--:|--:|\n'
    cat "$table"
  } | replace "$WORK/data/report.md"
  rm -f "$sorted" "$table"

  result_begin
  result_str from "$first"
  result_str to "$last"
  result_num readings "$readings"
  result_raw sensors "[$parts]"
  result_end
}

begin
case $MOA_ACTION in
  check_accessibility) check_accessibility ;;
  analyze_data) analyze_data ;;
  *) unknown_action 'check_accessibility, analyze_data' ;;
esac
