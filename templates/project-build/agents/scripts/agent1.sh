#!/bin/sh
# API Gateway: turns api/routes.tsv of an application into its router, its OpenAPI document, a page
# for people and (template typescript-api) TypeScript declarations; then builds and tests it.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

# read_routes: checks api/routes.tsv and writes it to $routes as METHOD|BASE|PARAM|HANDLER|TEXT,
# where a path /items/{id} has the base /items/ and the param id.
read_routes() {
  table=$APP_DIR/api/routes.tsv
  [ -f "$table" ] || not_found "there is no $table"
  routes=$WORK/routes.$$.txt
  : > "$routes"
  number=0
  count=0
  while IFS=$TAB read -r method path handler text || [ -n "$method" ]; do
    number=$((number + 1))
    case $method in '' | '#'*) continue ;; esac
    at="$table:$number"
    case $method in
      GET | POST | PUT | PATCH | DELETE) ;;
      *) bad_data "$at: '$method' is not a method" ;;
    esac
    case $handler in
      '' | *[!a-z0-9_]*) bad_data "$at: '$handler' is not a handler's name" ;;
    esac
    case $path in
      /*'{'*'}') base=${path%%'{'*}; param=${path#*'{'}; param=${param%'}'} ;;
      /*) base=$path; param='' ;;
      *) bad_data "$at: the path '$path' does not begin with /" ;;
    esac
    case $base$param in
      *[!a-zA-Z0-9/_-]*) bad_data "$at: the path '$path' may have one {param}, at its end" ;;
    esac
    if ! has_handler "$handler"; then
      bad_data "$at: no file in $APP_DIR/src defines handle_$handler()"
    fi
    printf '%s|%s|%s|%s|%s\n' "$method" "$base" "$param" "$handler" "$text" >> "$routes"
    count=$((count + 1))
  done < "$table"
  [ "$count" -gt 0 ] || bad_data "$table has no routes"
}

has_handler() {
  for file in "$APP_DIR"/src/*.sh; do
    case $NL$(cat "$file") in
      *"${NL}handle_$1() "* | *"${NL}handle_$1(){"*) return 0 ;;
    esac
  done
  return 1
}

# write_router: the longest paths first, then for each path the methods that it doesn't have.
write_router() {
  printf '# Generated from api/routes.tsv; change that file, not this one.\n\n'
  printf '# route METHOD PATH: calls the handler.\nroute() {\n  case "$1 $2" in\n'
  while IFS='|' read -r method base param handler _; do
    if [ -z "$param" ]; then
      printf "    '%s %s') handle_%s ;;\n" "$method" "$base" "$handler"
    else
      printf "    '%s %s'*/*) handle_not_found ;;\n" "$method" "$base"
      printf "    '%s %s'?*) handle_%s \"\${2#%s}\" ;;\n" "$method" "$base" "$handler" "$base"
    fi
  done < "$routes"
  cut -d '|' -f 2,3 "$routes" | sort -u | while IFS='|' read -r base param; do
    if [ -z "$param" ]; then
      printf "    *' %s') problem '405 Method Not Allowed' 'this path has other methods' ;;\n" "$base"
    fi
  done
  printf '    *) handle_not_found ;;\n  esac\n}\n'
}

write_openapi() {
  quote "$APP"
  printf '{\n  "openapi": "3.1.0",\n  "info": {"title": %s, "version": "1.0.0"},\n' "$QUOTED"
  printf '  "paths": {'
  first=''
  cut -d '|' -f 2,3 "$routes" | sort -u > "$routes.paths"
  while IFS='|' read -r base param; do
    quote "$base${param:+{$param\}}"
    printf '%s\n    %s: {' "$first" "$QUOTED"
    first=,
    comma=''
    while IFS='|' read -r method b p handler text; do
      [ "$b|$p" = "$base|$param" ] || continue
      name=$(printf '%s' "$method" | tr 'A-Z' 'a-z')
      quote "$handler"
      printf '%s\n      "%s": {"operationId": %s' "$comma" "$name" "$QUOTED"
      quote "$text"
      printf ', "summary": %s' "$QUOTED"
      if [ -n "$p" ]; then
        printf ', "parameters": [{"name": "%s", "in": "path", "required": true' "$p"
        printf ', "schema": {"type": "string"}}]'
      fi
      printf ', "responses": {"default": {"description": "JSON"}}}'
      comma=,
    done < "$routes"
    printf '\n    }'
  done < "$routes.paths"
  rm -f "$routes.paths"
  printf '\n  }\n}\n'
}

write_page() {
  printf '<!DOCTYPE html>\n<html lang="en">\n<head>\n  <meta charset="utf-8">\n'
  printf '  <meta name="viewport" content="width=device-width, initial-scale=1">\n'
  printf '  <title>Routes of %s</title>\n</head>\n<body>\n  <h1>Routes of %s</h1>\n' "$APP" "$APP"
  printf '  <table>\n    <caption>What it can be asked</caption>\n'
  printf '    <tr><th scope="col">Method</th><th scope="col">Path</th><th scope="col">What</th></tr>\n'
  while IFS='|' read -r method base param _ text; do
    printf '    <tr><td>%s</td><td>%s</td><td>' "$method" "$base${param:+{$param\}}"
    escape_html "$text"
    printf '</td></tr>\n'
  done < "$routes"
  printf '  </table>\n  <p><a href="index.html">Back</a></p>\n</body>\n</html>\n'
}

escape_html() {
  left=$1
  while [ -n "$left" ]; do
    part=${left%%[<>&]*}
    printf '%s' "$part"
    left=${left#"$part"}
    case $left in
      '<'*) printf '&lt;' ;;
      '>'*) printf '&gt;' ;;
      '&'*) printf '&amp;' ;;
    esac
    left=${left#?}
  done
}

# write_declarations: types for clients in TypeScript. Nothing here compiles them.
write_declarations() {
  printf '// Generated from api/routes.tsv; for clients of %s in TypeScript.\n\n' "$APP"
  printf 'export interface Item { id: number; name: string }\n'
  printf 'export interface Problem { error: string }\n\n'
  printf 'export type Route =\n'
  while IFS='|' read -r method base param _ _; do
    if [ -n "$param" ]; then
      printf '  | { method: "%s"; path: `%s${string}` }\n' "$method" "$base"
    else
      printf '  | { method: "%s"; path: "%s" }\n' "$method" "$base"
    fi
  done < "$routes"
  printf '  ;\n'
}

create_api() {
  find_app
  read_routes
  write_router | replace "$APP_DIR/src/40-routes.sh"
  write_openapi | replace "$APP_DIR/public/openapi.json"
  write_page | replace "$APP_DIR/public/routes.html"
  if [ "$(cat "$APP_DIR/.scaffold")" = typescript-api ]; then
    write_declarations | replace "$APP_DIR/types/api.d.ts"
  fi
  rm -f "$routes"
  log "generated the router, the OpenAPI document and the page of $count routes"

  sh "$APP_DIR/build.sh" >&2 || bad_data "$APP_DIR does not build; the reason is above"
  report=$WORK/tests.$$.txt
  sh "$APP_DIR/test.sh" > "$report" 2>&1 && ok=true || ok=false
  cat "$report" >&2
  last=$(tail -n 1 "$report")
  rm -f "$report"
  [ "$ok" = true ] || bad_data "tests of $APP_DIR fail; which ones is said above"
  set -- $last

  result_begin
  result_str app "$APP"
  result_str path "$APP_DIR"
  result_num routes "$count"
  result_str file "$APP_DIR/dist/app"
  result_num bytes "$(count_bytes "$APP_DIR/dist/app")"
  result_raw tests "{\"passed\":$2,\"failed\":$4}"
  result_end
}

begin
case $MOA_ACTION in
  create_api) create_api ;;
  *) unknown_action create_api ;;
esac
