#!/bin/sh
# Publisher: writes the report for people (Markdown), for programs (JSON) and the orders themselves
# (CSV) to out/; or puts a bad delivery aside.
. "${0%/*}/lib.sh"
. "${0%/*}/csv.sh"
. "${0%/*}/orders.sh"

# find_orders: sets FILE and FOLDER to the merged orders.
find_orders() {
  FILE=${MOA_PARAM_ORDERS:-$WORK/orders/orders.csv}
  inside orders "$FILE"
  FOLDER=${FILE%/*}
  [ -f "$FILE" ] || not_found "there is no $FILE; merge makes it"
}

# bar CENTS MOST: a bar of 1 to 30 signs.
bar() {
  _signs=$(($1 * 30 / $2))
  [ "$_signs" -gt 0 ] || _signs=1
  printf '%*s' "$_signs" '' | tr ' ' '#'
}

# table TITLE FILE MOST-ROWS: one analysis as a Markdown table.
table() {
  printf '\n## Revenue by %s\n\n| %s | Orders | Units | Revenue (EUR) | |\n|---|--:|--:|--:|---|\n' \
    "$1" "$1"
  most=$(cut -f 1 "$2" | sort -rn | head -n 1)
  head -n "$3" "$2" | while IFS=$TAB read -r cents orders units group; do
    from_fixed "$cents" 2
    case $group in *'|'*) group=$(printf '%s' "$group" | tr '|' '/') ;; esac
    printf '| %s | %d | %d | %s | `%s` |\n' "$group" "$orders" "$units" "$DECIMAL" \
      "$(bar "$cents" "$most")"
  done
}

write_report() {
  printf '# Sales report\n\n'
  printf '%d orders from %s to %s, together %s EUR. ' "$rows" "$first" "$last" "$total_text"
  printf '%d rows were left out; [rejected.csv](rejected.csv) says why.\n' "$rejected"
  table month "$FOLDER/analysis/month.tsv" 100
  table country "$FOLDER/analysis/country.tsv" 100
  table category "$FOLDER/analysis/category.tsv" 100
  table customer "$FOLDER/analysis/customer.tsv" 10
  printf '\n## What was left out\n\n| Rows | Reason |\n|--:|---|\n'
  while IFS= read -r line; do
    csv_split "$line"
    eval "printf '%s\n' \"\$F$FIELDS\""
  done < "$FOLDER/rejected.csv" | tail -n +2 | tr '|' '/' | sort | uniq -c | sort -k 1,1nr -k 2 |
    while read -r count reason; do printf '| %d | %s |\n' "$count" "$reason"; done
}

json_groups() { # json_groups NAME
  _groups=''
  while IFS=$TAB read -r cents orders units group; do
    quote "$group"
    from_fixed "$cents" 2
    _groups="${_groups:+$_groups,}{\"$1\":$QUOTED,\"orders\":$orders,\"units\":$units"
    _groups="$_groups,\"revenue_eur\":$DECIMAL}"
  done < "$FOLDER/analysis/$1.tsv"
  printf '"by_%s":[%s]' "$1" "$_groups"
}

write_json() {
  printf '{"from":"%s","to":"%s","orders":%d,"rejected":%d,"revenue_eur":%s' \
    "$first" "$last" "$rows" "$rejected" "$total_text"
  for name in month country category customer; do
    printf ','
    json_groups "$name"
  done
  printf '}\n'
}

publish() {
  find_orders
  into=out/${MOA_PARAM_NAME:-sales-report}
  safe_name name "${into#out/}"
  for name in month country category customer; do
    [ -f "$FOLDER/analysis/$name.tsv" ] || not_found "there is no analysis by $name"
  done

  # The four analyses and the orders themselves have to come to the same sum.
  rows=0 total=0
  while IFS= read -r line; do
    csv_split "$line"
    [ "$F1" != order_id ] || continue
    rows=$((rows + 1))
    to_fixed "$F11" 2
    total=$((total + FIXED))
  done < "$FILE"
  for name in month country category customer; do
    sum=0
    while IFS=$TAB read -r cents _; do sum=$((sum + cents)); done < "$FOLDER/analysis/$name.tsv"
    [ "$sum" -eq "$total" ] || bad_data "the analysis by $name comes to $sum cents, not to $total"
  done
  from_fixed "$total" 2
  total_text=$DECIMAL
  rejected=$(($(count_lines "$FOLDER/rejected.csv") - 1))
  # Names may hold commas, so the date is not simply the second column.
  tail -n +2 "$FILE" | while IFS= read -r line; do
    csv_split "$line"
    printf '%s\n' "$F2"
  done | sort > "$FOLDER/dates.$$"
  first=$(head -n 1 "$FOLDER/dates.$$")
  last=$(tail -n 1 "$FOLDER/dates.$$")
  rm -f "$FOLDER/dates.$$"

  write_report | replace "$into/report.md"
  write_json | replace "$into/report.json"
  replace "$into/orders.csv" < "$FILE"
  replace "$into/rejected.csv" < "$FOLDER/rejected.csv"
  log "wrote $into/report.md"

  result_begin
  result_str report "$into/report.md"
  result_num orders "$rows"
  result_num rejected "$rejected"
  result_num revenue_eur "$total_text"
  result_raw files "[\"$into/report.md\",\"$into/report.json\",\"$into/orders.csv\",\"$into/rejected.csv\"]"
  result_end
}

# quarantine: what was rejected, for the people who have to ask for a better delivery.
quarantine() {
  find_orders
  into=out/quarantine/$(short_key)
  replace "$into/rejected.csv" < "$FOLDER/rejected.csv"
  rows=$(($(count_lines "$into/rejected.csv") - 1))
  log "put $rows rejected rows to $into/rejected.csv"
  result_begin
  result_str file "$into/rejected.csv"
  result_num rows "$rows"
  result_end
}

begin
case $MOA_ACTION in
  publish) publish ;;
  quarantine) quarantine ;;
  *) unknown_action 'publish, quarantine' ;;
esac
