# What the agents know about orders. Read after lib.sh and csv.sh.
#
#   RAW     order_id,ordered_at,customer,country,sku,quantity,unit_price,currency
#   CLEAN   the same, then product,category,amount_eur

RAW_HEADER=order_id,ordered_at,customer,country,sku,quantity,unit_price,currency
CLEAN_HEADER=$RAW_HEADER,product,category,amount_eur

# inside NAME VALUE: refuses a path that leads out of the project.
inside() {
  case $2 in
    '' | /* | ../* | */../* | */..) usage "param '$1' is '$2'; it must be a path inside the project" ;;
  esac
}

# load_table FILE: sets TABLE to its rows as lines KEY=REST, for `look_up`.
load_table() {
  [ -f "$1" ] || not_found "there is no $1"
  TABLE=$NL
  while IFS= read -r _line; do
    csv_split "$_line" || bad_data "$1: a quote is not closed: $_line"
    _rest_of_row=$F2
    if [ "$FIELDS" -gt 2 ]; then _rest_of_row="$F2|$F3"; fi
    TABLE="$TABLE$F1=$_rest_of_row$NL"
  done < "$1"
}

# look_up TABLE KEY: sets FOUND. False when the key isn't there.
look_up() {
  case $1 in
    *"$NL$2="*) ;;
    *) return 1 ;;
  esac
  FOUND=${1#*"$NL$2="}
  FOUND=${FOUND%%"$NL"*}
}

# iso_date TEXT: sets DATE to YYYY-MM-DD. Understands 2026-03-31, 2026/03/31 and 31.03.2026.
# False when it is no day of the calendar.
iso_date() {
  case $1 in
    [0-9][0-9][0-9][0-9][-/][0-9][0-9][-/][0-9][0-9])
      DATE=${1%%[-/]*}-${1#?????}
      DATE=${DATE%???}-${1#????????} ;;
    [0-9][0-9].[0-9][0-9].[0-9][0-9][0-9][0-9])
      DATE=${1##*.}-${1#???}
      DATE=${DATE%?????}-${1%%.*} ;;
    *) return 1 ;;
  esac
  _year=${DATE%%-*}
  _day=${DATE##*-}
  case $DATE in
    *-0[13578]-* | *-1[02]-*) _days=31 ;;
    *-0[469]-* | *-11-*) _days=30 ;;
    *-02-*)
      _days=28
      if [ $((_year % 4)) -eq 0 ] && { [ $((_year % 100)) -ne 0 ] || [ $((_year % 400)) -eq 0 ]; }
      then _days=29; fi ;;
    *) return 1 ;;
  esac
  [ "${_day#0}" -ge 1 ] && [ "${_day#0}" -le "$_days" ]
}
