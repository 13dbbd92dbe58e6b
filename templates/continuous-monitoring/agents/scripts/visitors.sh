#!/bin/sh
# Visitors: ask the service what its users would ask. Each request is answered by the release that is
# live at that moment, and logged.
. "${0%/*}/lib.sh"
. "${0%/*}/service.sh"

send() {
  requests=${MOA_PARAM_REQUESTS:-30}
  whole_number requests "$requests" 1 1000
  mkdir -p logs
  find_live
  # Before the first release there is nobody to ask.
  [ -n "$LIVE" ] || requests=0
  n=0
  answered=0
  refused=0
  broken=0
  while [ "$n" -lt "$requests" ]; do
    n=$((n + 1))
    find_live
    [ -n "$LIVE" ] || not_found "nothing is live any more"
    case $((n % 5)) in
      0) serve GET /health '' ;;
      1) serve GET /quote "zone=home&weight=$((n % 30 + 1))" ;;
      2) serve GET /quote "zone=eu&weight=$((n % 20 + 1))" ;;
      3) serve GET /quote "zone=world&weight=$((n % 15 + 1))" ;;
      4) serve GET /quote "zone=eu&weight=$((n % 40 + 1))" ;;
    esac
    case $STATUS in
      2??) answered=$((answered + 1)) ;;
      4??) refused=$((refused + 1)) ;;
      *) broken=$((broken + 1)) ;;
    esac
  done
  result_begin
  result_str version "${LIVE:-none}"
  result_num requests "$requests"
  result_num answered "$answered"
  result_num refused "$refused"
  result_num broken "$broken"
  result_end
}

begin
case $MOA_ACTION in
  send) send ;;
  *) unknown_action send ;;
esac
