#!/bin/sh
# Analyst: adds up the orders by month, country, category or customer.
. "${0%/*}/lib.sh"
. "${0%/*}/csv.sh"
. "${0%/*}/orders.sh"

# key: sets GROUP to what the order in F1 to F11 is counted under.
key() {
  case $by in
    month) GROUP=${F2%-*} ;;
    country) GROUP=$F4 ;;
    category) GROUP=$F10 ;;
    customer) GROUP=$F3 ;;
  esac
}

group_done() { # one line: cents, orders, units, group
  [ "$orders" -gt 0 ] || return 0
  printf '%s\t%s\t%s\t%s\n' "$cents" "$orders" "$units" "$group" >> "$table"
}

analyse() {
  by=${MOA_PARAM_BY:?by what to add up, a param}
  case $by in
    month | country | category | customer) ;;
    *) usage "param 'by' is '$by'; use month, country, category or customer" ;;
  esac
  file=${MOA_PARAM_ORDERS:-$WORK/orders/orders.csv}
  inside orders "$file"
  [ -f "$file" ] || not_found "there is no $file; merge makes it"
  folder=${file%/*}/analysis
  mkdir -p "$folder"
  sorted=$folder/$by.sorted.$$
  table=$folder/$by.table.$$
  : > "$table"
  tail -n +2 "$file" | while IFS= read -r line; do
    csv_split "$line"
    key
    to_fixed "$F11" 2
    printf '%s\t%s\t%s\n' "$GROUP" "$F6" "$FIXED"
  done | sort > "$sorted"

  group='' orders=0 total=0
  while IFS=$TAB read -r name quantity amount; do
    if [ "$name" != "$group" ]; then
      group_done
      group=$name orders=0 units=0 cents=0
    fi
    orders=$((orders + 1))
    units=$((units + quantity))
    cents=$((cents + amount))
    total=$((total + amount))
  done < "$sorted"
  group_done
  [ "$total" -gt 0 ] || bad_data "$file has no orders"

  # Months in their order, everything else by revenue.
  if [ "$by" = month ]; then
    sort -t "$TAB" -k 4,4 "$table" | replace "$folder/$by.tsv"
  else
    sort -t "$TAB" -k 1,1nr -k 4,4 "$table" | replace "$folder/$by.tsv"
  fi
  rm -f "$sorted" "$table"

  groups=''
  while IFS=$TAB read -r cents orders units group; do
    quote "$group"
    from_fixed "$cents" 2
    groups="${groups:+$groups,}{\"$by\":$QUOTED,\"orders\":$orders,\"units\":$units"
    groups="$groups,\"revenue_eur\":$DECIMAL,\"share\":$(ratio "$cents" "$total")}"
  done < "$folder/$by.tsv"
  from_fixed "$total" 2

  result_begin
  result_str by "$by"
  result_str file "$folder/$by.tsv"
  result_num revenue_eur "$DECIMAL"
  result_num revenue_cents "$total"
  result_raw groups "[$groups]"
  result_end
}

begin
case $MOA_ACTION in
  analyse) analyse ;;
  *) unknown_action analyse ;;
esac
