#!/bin/sh
# Data Processor: takes in a table of readings (time, sensor, temperature, humidity), brings it into
# one form, sorts out what cannot be right, and exports what is left.
#
# Each step reads the file that the step before it names, or the file of its own run, and writes a
# new one, whole or not at all: raw.csv, transformed.csv, valid.csv and rejected.csv.
. "${0%/*}/lib.sh"
. "${0%/*}/csv.sh"

HEADER=time,sensor,temperature,humidity

# input_file KEY NAME: sets FILE to what an input names under KEY, else to NAME of this run.
input_file() {
  FILE=$WORK/data/$2
  if input_get "$1"; then FILE=$VALUE; fi
  [ -f "$FILE" ] || not_found "there is no $FILE; the step before makes it"
}

# ingest_data: s3://bucket/key is the file data/bucket/key of this project, file:path any other one.
ingest_data() {
  source=${MOA_PARAM_SOURCE:-s3://bucket/data.csv}
  case $source in
    *..*) usage "param 'source' is '$source'; '..' is not allowed in it" ;;
    s3://*/*) file=data/${source#s3://} ;;
    file:*) file=${source#file:} ;;
    *) usage "param 'source' is '$source'; use s3://BUCKET/KEY or file:PATH" ;;
  esac
  [ -f "$file" ] || not_found "$source: there is no $file"
  header=$(head -n 1 "$file" | tr -d '\r')
  [ "$header" = "$HEADER" ] || bad_data "$file begins with '$header'; '$HEADER' is needed"
  raw=$WORK/data/raw.csv
  replace "$raw" < "$file"
  rows=$(($(count_lines "$raw") - 1))
  sum=$(sha256sum < "$raw")
  log "took in $rows rows of $file"

  result_begin
  result_str source "$source"
  result_str raw "$raw"
  result_num rows "$rows"
  result_num bytes "$(count_bytes "$raw")"
  result_str sha256 "${sum%% *}"
  result_end
}

# transform_row: from F1 to F4; sets ROW. What cannot be understood is left for validation.
transform_row() {
  trim "$F1"
  time=$TRIMMED
  case $time in
    [0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]\ [0-9][0-9]:[0-9][0-9])
      time=${time% *}T${time#* }:00Z ;;
  esac
  trim "$F2"
  case $TRIMMED in
    *[A-Z]*) sensor=$(printf '%s' "$TRIMMED" | tr 'A-Z' 'a-z') ;;
    *) sensor=$TRIMMED ;;
  esac
  trim "$F3"
  temperature=$TRIMMED
  case $temperature in
    *,*) temperature=${temperature%%,*}.${temperature#*,} ;;
  esac
  case $temperature in
    *F)
      trim "${temperature%F}"
      if to_fixed "$TRIMMED" 1; then
        divide $(((FIXED - 320) * 5)) 9
        from_fixed "$QUOTIENT" 1
        temperature=$DECIMAL
      fi ;;
    *C)
      trim "${temperature%C}"
      temperature=$TRIMMED ;;
  esac
  if to_fixed "$temperature" 1; then
    from_fixed "$FIXED" 1
    temperature=$DECIMAL
  fi
  trim "$F4"
  humidity=${TRIMMED%\%}
  if [ "$time,$sensor,$temperature,$humidity" != "$F1,$F2,$F3,$F4" ]; then
    changed=$((changed + 1))
  fi
  csv_quote "$time"; ROW=$CSV
  csv_quote "$sensor"; ROW=$ROW,$CSV
  csv_quote "$temperature"; ROW=$ROW,$CSV
  csv_quote "$humidity"; ROW=$ROW,$CSV
}

transform_data() {
  input_file raw raw.csv
  rows=0 changed=0 broken=0
  out=$WORK/data/transformed.csv
  while IFS= read -r line || [ -n "$line" ]; do
    rows=$((rows + 1))
    if [ "$rows" -eq 1 ]; then
      printf '%s\n' "$HEADER"
    elif csv_split "$line" && [ "$FIELDS" -eq 4 ]; then
      transform_row
      printf '%s\n' "$ROW"
    else
      broken=$((broken + 1))
      csv_quote "$line"
      printf '%s,,,\n' "$CSV"
    fi
  done < "$FILE" > "$out.tmp.$$"
  mv -f "$out.tmp.$$" "$out"
  log "$changed of $((rows - 1)) rows were brought into form, $broken were no rows"

  result_begin
  result_str transformed "$out"
  result_num rows "$((rows - 1))"
  result_num changed "$changed"
  result_num broken "$broken"
  result_end
}

# judge: sets REASON to what is wrong with the row in F1 to F4, or to nothing.
judge() {
  REASON=''
  case $F1 in
    [0-9][0-9][0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]Z) ;;
    *) REASON='time is not a time'; return 0 ;;
  esac
  case $F2 in
    '') REASON='sensor is missing'; return 0 ;;
  esac
  case $F3 in
    '') REASON='temperature is missing'; return 0 ;;
  esac
  if ! to_fixed "$F3" 1; then
    REASON='temperature is not a number'
  elif [ "$FIXED" -lt -400 ] || [ "$FIXED" -gt 600 ]; then
    REASON='temperature is out of range'
  elif ! is_integer "$F4"; then
    REASON='humidity is not a number'
  elif [ "$F4" -lt 0 ] || [ "$F4" -gt 100 ]; then
    REASON='humidity is out of range'
  else
    case $seen in
      *"$NL$F1,$F2$NL"*) REASON='the same reading a second time' ;;
      *) seen="$seen$F1,$F2$NL" ;;
    esac
  fi
}

validate_data() {
  input_file transformed transformed.csv
  share=${MOA_PARAM_MAX_REJECTED_PERCENT:-20}
  whole_number max_rejected_percent "$share" 0 100
  valid=$WORK/data/valid.csv
  rejected=$WORK/data/rejected.csv
  printf '%s\n' "$HEADER" > "$valid.tmp.$$"
  printf '%s,reason\n' "$HEADER" > "$rejected.tmp.$$"
  good=0 bad=0 number=0 seen=$NL
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [ "$number" -gt 1 ] || continue
    csv_split "$line" || bad_data "$FILE:$number: a quote is not closed"
    judge
    if [ -z "$REASON" ]; then
      good=$((good + 1))
      printf '%s\n' "$line" >> "$valid.tmp.$$"
    else
      bad=$((bad + 1))
      log "line $number: $REASON"
      printf '%s,%s\n' "$line" "$REASON" >> "$rejected.tmp.$$"
    fi
  done < "$FILE"
  mv -f "$valid.tmp.$$" "$valid"
  mv -f "$rejected.tmp.$$" "$rejected"
  if [ $((bad * 100)) -gt $((share * (good + bad))) ]; then
    bad_data "$bad of $((good + bad)) rows are wrong, more than $share percent; see $rejected"
  fi

  result_begin
  result_str valid "$valid"
  result_str rejected_file "$rejected"
  result_num rows "$good"
  result_num rejected "$bad"
  result_num rejected_share "$(ratio "$bad" $((good + bad)))"
  result_end
}

# export_data: puts the run's results where people look for them.
export_data() {
  into=out/data
  for name in valid.csv rejected.csv analysis.json report.md; do
    file=$WORK/data/$name
    [ -f "$file" ] || not_found "there is no $file; the steps before make it"
  done
  files=''
  for name in valid.csv rejected.csv analysis.json report.md; do
    replace "$into/$name" < "$WORK/data/$name"
    files="${files:+$files,}\"$into/$name\""
  done
  sum=$(sha256sum < "$into/valid.csv")

  result_begin
  result_str report "$into/report.md"
  result_num rows "$(($(count_lines "$into/valid.csv") - 1))"
  result_str sha256 "${sum%% *}"
  result_raw files "[$files]"
  result_end
}

begin
mkdir -p "$WORK/data"
case $MOA_ACTION in
  ingest_data) ingest_data ;;
  transform_data) transform_data ;;
  validate_data) validate_data ;;
  export_data) export_data ;;
  *) unknown_action 'ingest_data, transform_data, validate_data, export_data' ;;
esac
