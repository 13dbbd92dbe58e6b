#!/bin/sh
# API Integrator: compares what an application says of its API with what it has: each route of
# api/routes.tsv must be in the router, in the OpenAPI document, and in a test.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

missing() {
  log "$1"
  quote "$1"
  gaps="${gaps:+$gaps,}$QUOTED"
}

check_contract() {
  find_app
  for file in api/routes.tsv src/40-routes.sh public/openapi.json; do
    [ -f "$APP_DIR/$file" ] || not_found "there is no $APP_DIR/$file; run create_api first"
  done
  router=$(cat "$APP_DIR/src/40-routes.sh")
  openapi=$(cat "$APP_DIR/public/openapi.json")
  tests=$(cat "$APP_DIR"/tests/*.test.sh)
  gaps='' routes=0
  while IFS=$TAB read -r method path handler _ || [ -n "$method" ]; do
    case $method in '' | '#'*) continue ;; esac
    routes=$((routes + 1))
    base=${path%%'{'*}
    case $router in
      *"'$method $base'"*"handle_$handler"*) ;;
      *) missing "$method $path is not in the router" ;;
    esac
    case $openapi in
      *"\"$path\": {"*"\"operationId\": \"$handler\""*) ;;
      *) missing "$method $path is not in the OpenAPI document" ;;
    esac
    case $tests in
      *"ask $method $base"*) ;;
      *) missing "$method $path is in no test" ;;
    esac
  done < "$APP_DIR/api/routes.tsv"
  passed=true
  if [ -n "$gaps" ]; then passed=false; fi

  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_num routes "$routes"
  result_raw gaps "[$gaps]"
  result_end
}

begin
case $MOA_ACTION in
  check_contract) check_contract ;;
  *) unknown_action check_contract ;;
esac
