#!/bin/sh
# Project Builder: makes a new application out of skeleton/api, builds it, runs its tests.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

scaffold_project() {
  template=${MOA_PARAM_TEMPLATE:-typescript-api}
  APP=${MOA_PARAM_NAME:-my-project}
  safe_name name "$APP"
  case $template in
    typescript-api | shell-api) ;;
    *) usage "there is no template '$template'; known: typescript-api, shell-api" ;;
  esac
  APP_DIR=apps/$APP
  if [ -e "$APP_DIR" ] && [ ! -f "$APP_DIR/.scaffold" ]; then
    usage "$APP_DIR exists and was not made here; choose another name"
  fi

  # Only what is missing is written, so that a second call changes nothing that somebody has edited.
  created=0
  kept=0
  list_files skeleton/api > "$WORK/skeleton.txt"
  while read -r source; do
    target=$APP_DIR/${source#skeleton/api/}
    if [ -f "$target" ]; then
      kept=$((kept + 1))
    else
      fill_in "$source" | replace "$target"
      created=$((created + 1))
    fi
  done < "$WORK/skeleton.txt"
  printf '%s\n' "$template" | replace "$APP_DIR/.scaffold"
  printf '%s\n' "$APP" | replace "$WORK/app"
  printf '%s\n' "$APP" | replace apps/.last
  log "scaffolded $APP_DIR: $created files written, $kept left as they were"

  result_begin
  result_str app "$APP"
  result_str path "$APP_DIR"
  result_str template "$template"
  result_num files_created "$created"
  result_num files_kept "$kept"
  result_end
}

# fill_in FILE: prints FILE with @APP@ replaced by the application's name.
fill_in() {
  while IFS= read -r line || [ -n "$line" ]; do
    while :; do
      case $line in
        *@APP@*) line=${line%%@APP@*}$APP${line#*@APP@} ;;
        *) break ;;
      esac
    done
    printf '%s\n' "$line"
  done < "$1"
}

build() {
  find_app
  sh "$APP_DIR/build.sh" >&2 || bad_data "$APP_DIR does not build; the reason is above"
  sum=$(sha256sum < "$APP_DIR/dist/app")
  result_begin
  result_str app "$APP"
  result_str file "$APP_DIR/dist/app"
  result_num bytes "$(count_bytes "$APP_DIR/dist/app")"
  result_str sha256 "${sum%% *}"
  result_end
}

run_tests() {
  find_app
  sh "$APP_DIR/test.sh" > "$WORK/tests.$$.txt" 2>&1 && ok=true || ok=false
  cat "$WORK/tests.$$.txt" >&2
  last=$(tail -n 1 "$WORK/tests.$$.txt")
  rm -f "$WORK/tests.$$.txt"
  set -- $last
  [ "$ok" = true ] || bad_data "tests of $APP_DIR fail; which ones is said above"
  result_begin
  result_str app "$APP"
  result_num passed "$2"
  result_num failed "$4"
  result_end
}

begin
case $MOA_ACTION in
  scaffold_project) scaffold_project ;;
  build) build ;;
  test) run_tests ;;
  *) unknown_action 'scaffold_project, build, test' ;;
esac
