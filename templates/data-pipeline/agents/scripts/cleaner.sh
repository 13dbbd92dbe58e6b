#!/bin/sh
# Cleaner: brings the orders of one month into one form: dates, countries, numbers, spelling; adds
# the product's name and category and the amount in euro. What it can't make sense of it leaves as
# it is; the checker sorts that out.
. "${0%/*}/lib.sh"
. "${0%/*}/csv.sh"
. "${0%/*}/orders.sh"

# upper TEXT: sets UPPER to TEXT without blanks at its ends, in capitals.
upper() {
  trim "$1"
  case $TRIMMED in
    *[a-z]*) UPPER=$(printf '%s' "$TRIMMED" | tr 'a-z' 'A-Z') ;;
    *) UPPER=$TRIMMED ;;
  esac
}

# country TEXT: sets COUNTRY to the code of a country given by code or by name.
country() {
  trim "$1"
  COUNTRY=$TRIMMED
  case $COUNTRY in
    [A-Za-z][A-Za-z]) upper "$COUNTRY"; COUNTRY=$UPPER ;;
    *)
      case $countries in
        *"=$COUNTRY$NL"*)
          COUNTRY=${countries%%"=$COUNTRY$NL"*}
          COUNTRY=${COUNTRY##*"$NL"} ;;
      esac ;;
  esac
}

# price TEXT: sets PRICE to a price without its currency sign, with a decimal point.
price() {
  trim "$1"
  PRICE=$TRIMMED
  for sign in '€' '$' '£'; do
    PRICE=${PRICE#"$sign"}
  done
  trim "$PRICE"
  PRICE=$TRIMMED
  case $PRICE in
    *.*) ;;
    *,*) PRICE=${PRICE%%,*}.${PRICE#*,} ;;
  esac
}

# row: from the line's number in F1 and the order in F2 to F9; sets ROW.
row() {
  trim "$F2"; id=$TRIMMED
  trim "$F3"; date=$TRIMMED
  if iso_date "$date"; then date=$DATE; fi
  trim "$F4"; customer=$TRIMMED
  country "$F5"
  upper "$F6"; sku=$UPPER
  trim "$F7"; quantity=$TRIMMED
  price "$F8"
  upper "$F9"; currency=$UPPER
  if [ "$id,$date,$customer,$COUNTRY,$sku,$quantity,$PRICE,$currency" != \
    "$F2,$F3,$F4,$F5,$F6,$F7,$F8,$F9" ]; then
    changed=$((changed + 1))
  fi

  product='' category='' amount=''
  if look_up "$products" "$sku"; then
    product=${FOUND%|*}
    category=${FOUND##*|}
  fi
  if is_integer "$quantity" && to_fixed "$PRICE" 2; then
    cents=$FIXED
    if look_up "$rates" "$currency" && to_fixed "$FOUND" 4; then
      divide $((cents * quantity * FIXED)) 10000
      from_fixed "$QUOTIENT" 2
      amount=$DECIMAL
    fi
  fi
  ROW=$F1
  for field in "$id" "$date" "$customer" "$COUNTRY" "$sku" "$quantity" "$PRICE" "$currency" \
    "$product" "$category" "$amount"; do
    csv_quote "$field"
    ROW=$ROW,$CSV
  done
}

clean() {
  folder=${MOA_PARAM_FOLDER:-$WORK/orders}
  month=${MOA_PARAM_MONTH:?the month to clean, a param}
  inside folder "$folder"
  safe_name month "$month"
  raw=$folder/raw/$month.csv
  out=$folder/clean/$month.csv
  [ -f "$raw" ] || not_found "there is no $raw; the intake makes it"
  load_table data/products.csv; products=$TABLE
  load_table data/rates.csv; rates=$TABLE
  load_table data/countries.csv; countries=$TABLE

  rows=0 changed=0 broken=0
  mkdir -p "$folder/clean"
  while IFS= read -r line; do
    rows=$((rows + 1))
    if csv_split "$line" && [ "$FIELDS" -eq 9 ]; then
      row
      printf '%s\n' "$ROW"
    else
      broken=$((broken + 1))
      csv_quote "${line#*,}"
      printf '%s,%s,,,,,,,,,,\n' "${line%%,*}" "$CSV"
    fi
  done < "$raw" > "$out.tmp.$$"
  mv -f "$out.tmp.$$" "$out"
  log "$month: $changed of $rows orders brought into form, $broken are no orders"

  result_begin
  result_str month "$month"
  result_str file "$out"
  result_num rows "$rows"
  result_num changed "$changed"
  result_num broken "$broken"
  result_end
}

begin
case $MOA_ACTION in
  clean) clean ;;
  *) unknown_action clean ;;
esac
