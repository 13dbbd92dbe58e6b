#!/bin/sh
# Intake: takes in a file of orders, whole, and cuts it into months, so that they can be worked on
# at the same time.
#
# Beside the file lies its checksum, FILE.sha256. As long as the two don't agree, the file is still
# being written, or was damaged on its way: the step is tried again later.
. "${0%/*}/lib.sh"
. "${0%/*}/csv.sh"
. "${0%/*}/orders.sh"

# check_sum FILE: whether FILE is what FILE.sha256 says.
check_sum() {
  [ -f "$1.sha256" ] || later "there is no $1.sha256 yet"
  read -r wanted _ < "$1.sha256"
  have=$(sha256sum < "$1")
  have=${have%% *}
  [ "$wanted" = "$have" ] || later "$1 is not complete: its checksum is not that of $1.sha256"
}

ingest() {
  source=${MOA_PARAM_SOURCE:-data/orders.csv}
  inside source "$source"
  [ -f "$source" ] || later "there is no $source yet"
  check_sum "$source"
  header=$(head -n 1 "$source" | tr -d '\r')
  [ "$header" = "$RAW_HEADER" ] || bad_data "$source begins with '$header'; '$RAW_HEADER' is needed"

  # Rows whose date can't be read go to a part of their own; validation says what is wrong.
  folder=$WORK/orders
  parts=$folder/parts.tmp.$$
  mkdir -p "$parts"
  number=0
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [ "$number" -gt 1 ] || continue
    month=unknown
    if csv_split "$line" && [ "$FIELDS" -eq 8 ]; then
      trim "$F2"
      if iso_date "$TRIMMED"; then month=${DATE%-*}; fi
    fi
    printf '%s,%s\n' "$number" "${line%"$CR"}" >> "$parts/$month.csv"
  done < "$source"
  [ "$number" -gt 1 ] || bad_data "$source has no orders"
  rm -rf "$folder/raw"
  mv "$parts" "$folder/raw"

  months=''
  for file in "$folder"/raw/*.csv; do
    month=${file##*/}
    months="${months:+$months,}\"${month%.csv}\""
  done
  log "took in $((number - 1)) orders of $source"

  result_begin
  result_str source "$source"
  result_str folder "$folder"
  result_num rows "$((number - 1))"
  result_raw months "[$months]"
  result_str sha256 "$have"
  result_end
}

begin
case $MOA_ACTION in
  ingest) ingest ;;
  *) unknown_action ingest ;;
esac
