#!/bin/sh
# Checker: sorts out the orders that can't be right, each with its reason, and puts the months
# together again.
. "${0%/*}/lib.sh"
. "${0%/*}/csv.sh"
. "${0%/*}/orders.sh"

# judge: sets REASON to what is wrong with the order in F2 to F12, or to nothing.
judge() {
  REASON=''
  case $F2 in
    O-[0-9][0-9][0-9][0-9][0-9]) ;;
    *) REASON="'$F2' is not an order's number"; return 0 ;;
  esac
  if ! iso_date "$F3"; then
    REASON="'$F3' is not a day"
  elif [ -z "$F4" ]; then
    REASON='the customer is missing'
  elif ! look_up "$countries" "$F5"; then
    REASON="the country '$F5' is not known"
  elif [ -z "$F10" ]; then
    REASON="the product '$F6' is not known"
  elif ! is_integer "$F7" || [ "$F7" -lt 1 ] || [ "$F7" -gt 1000 ]; then
    REASON="the quantity '$F7' is not from 1 to 1000"
  elif ! to_fixed "$F8" 2 || [ "$FIXED" -le 0 ]; then
    REASON="the price '$F8' is not above 0"
  elif [ -z "$F12" ]; then
    REASON="there is no rate for the currency '$F9'"
  fi
}

validate() {
  folder=${MOA_PARAM_FOLDER:-$WORK/orders}
  month=${MOA_PARAM_MONTH:?the month to check, a param}
  inside folder "$folder"
  safe_name month "$month"
  clean=$folder/clean/$month.csv
  [ -f "$clean" ] || not_found "there is no $clean; the cleaner makes it"
  load_table data/countries.csv; countries=$TABLE
  mkdir -p "$folder/valid" "$folder/rejected"
  valid=$folder/valid/$month.csv
  rejected=$folder/rejected/$month.csv
  : > "$valid.tmp.$$"
  : > "$rejected.tmp.$$"

  good=0 bad=0
  while IFS= read -r line; do
    csv_split "$line" || bad_data "$clean: a quote is not closed: $line"
    judge
    if [ -z "$REASON" ]; then
      good=$((good + 1))
      printf '%s\n' "${line#*,}" >> "$valid.tmp.$$"
    else
      bad=$((bad + 1))
      log "line $F1: $REASON"
      csv_quote "$REASON"
      printf '%s,%s\n' "$line" "$CSV" >> "$rejected.tmp.$$"
    fi
  done < "$clean"
  mv -f "$valid.tmp.$$" "$valid"
  mv -f "$rejected.tmp.$$" "$rejected"

  result_begin
  result_str month "$month"
  result_num valid "$good"
  result_num rejected "$bad"
  result_end
}

# merge: all months in order of their dates. An order's number that comes a second time, in
# whatever month, is rejected here, because only here all of them are seen.
merge() {
  folder=${MOA_PARAM_FOLDER:-$WORK/orders}
  inside folder "$folder"
  for kind in valid rejected; do
    [ -d "$folder/$kind" ] || not_found "there is no $folder/$kind; validate makes it"
  done
  cat "$folder"/valid/*.csv | sort -t , -k 1,1 > "$folder/all.tmp.$$"
  good=0 twice=0 last=''
  printf '%s\n' "$CLEAN_HEADER" > "$folder/orders.tmp.$$"
  printf 'line,%s,reason\n' "$CLEAN_HEADER" > "$folder/rejected.tmp.$$"
  sort -t , -k 1,1n "$folder"/rejected/*.csv >> "$folder/rejected.tmp.$$"
  while IFS= read -r line; do
    id=${line%%,*}
    if [ "$id" = "$last" ]; then
      twice=$((twice + 1))
      printf ',%s,the order came twice\n' "$line" >> "$folder/rejected.tmp.$$"
    else
      good=$((good + 1))
      printf '%s\n' "$line" >> "$folder/orders.tmp.$$"
    fi
    last=$id
  done < "$folder/all.tmp.$$"
  mv -f "$folder/orders.tmp.$$" "$folder/orders.csv"
  mv -f "$folder/rejected.tmp.$$" "$folder/rejected.csv"
  rm -f "$folder/all.tmp.$$"
  bad=$(($(count_lines "$folder/rejected.csv") - 1))
  log "$good orders are right, $bad are not ($twice of them came twice)"

  result_begin
  result_str orders "$folder/orders.csv"
  result_str rejects "$folder/rejected.csv"
  result_num valid "$good"
  result_num rejected "$bad"
  result_num twice "$twice"
  result_num rejected_share "$(ratio "$bad" $((good + bad)))"
  result_end
}

begin
case $MOA_ACTION in
  validate) validate ;;
  merge) merge ;;
  *) unknown_action 'validate, merge' ;;
esac
