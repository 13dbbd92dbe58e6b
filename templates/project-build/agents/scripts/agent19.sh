#!/bin/sh
# Deployment Manager: makes releases of an application and switches between them.
#
# A release is a folder deploy/NAME/releases/N; the link deploy/NAME/current says which one is
# live. The link is replaced in one step, so that there is a live release at every moment.
# Each release remembers the key of the step that made it: an attempt that is repeated goes on with
# the release of the attempt before it, and makes no second one.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

# switch_to N: makes release N the live one.
switch_to() {
  rm -f "$DEPLOY/.current.$$"
  ln -s "releases/$1" "$DEPLOY/.current.$$"
  if ! mv -T "$DEPLOY/.current.$$" "$DEPLOY/current" 2>/dev/null; then
    # A mv without -T would move the link into the folder that `current` points to.
    rm -f "$DEPLOY/.current.$$"
    ln -sfn "releases/$1" "$DEPLOY/current"
  fi
}

# claim_release: sets N to the release of this key, new or from an attempt before.
claim_release() {
  id=$(short_key)
  last=0
  for dir in "$DEPLOY"/releases/*; do
    [ -d "$dir" ] || continue
    number=${dir##*/}
    if [ "$number" -gt "$last" ]; then last=$number; fi
    if [ -f "$dir/.key" ] && [ "$(cat "$dir/.key")" = "$id" ]; then
      N=$number
      return 0
    fi
  done
  N=$((last + 1))
  until mkdir "$DEPLOY/releases/$N" 2>/dev/null; do
    [ -d "$DEPLOY/releases/$N" ] || fail 73 "$DEPLOY/releases/$N cannot be made"
    N=$((N + 1))
  done
  printf '%s\n' "$id" > "$DEPLOY/releases/$N/.key"
}

# healthy DIR: whether the release in DIR answers.
healthy() {
  request "$1" GET /health
  case $HTTP_STATUS in
    200) ;;
    *) log "GET /health: $HTTP_STATUS $HTTP_BODY"; return 1 ;;
  esac
}

# copy_settings: the application's settings, with the lines of the param `settings` put over them.
copy_settings() {
  while IFS= read -r line || [ -n "$line" ]; do
    key=${line%%=*}
    case "$NL${MOA_PARAM_SETTINGS:-}" in
      *"$NL$key="*) ;;
      *) printf '%s\n' "$line" ;;
    esac
  done < "$APP_DIR/config/app.conf"
  if [ -n "${MOA_PARAM_SETTINGS:-}" ]; then printf '%s\n' "$MOA_PARAM_SETTINGS"; fi
}

deploy() {
  find_app
  [ -f "$APP_DIR/dist/app" ] || not_found "$APP_DIR is not built; run create_api or build first"
  (cd "$APP_DIR" && sha256sum -c dist/app.sha256) > /dev/null 2>&1 ||
    bad_data "$APP_DIR/dist/app is not what the build made; build it again"
  DEPLOY=deploy/$APP
  mkdir -p "$DEPLOY/releases" "$DEPLOY/data" logs
  claim_release
  dir=$DEPLOY/releases/$N
  if [ ! -f "$dir/.ready" ]; then
    previous=''
    if [ -L "$DEPLOY/current" ]; then
      previous=$(readlink "$DEPLOY/current")
      previous=${previous##*/}
    fi
    cp "$APP_DIR/dist/app" "$dir/app"
    rm -rf "$dir/public"
    cp -R "$APP_DIR/public" "$dir/public"
    copy_settings > "$dir/app.conf"
    printf '%s\n' "$previous" > "$dir/.previous"
    (cd "$dir" && list_files . | while read -r file; do
      case $file in ./.* | ./MANIFEST*) ;; *) sha256sum "$file" ;; esac
    done) | replace "$dir/MANIFEST"
    healthy "$dir" || bad_data "release $N does not answer; the live release was left as it is"
    utc_now | replace "$dir/.ready"
    switch_to "$N"
  elif [ "$(readlink "$DEPLOY/current")" != "releases/$N" ] && [ ! -f "$dir/.live" ]; then
    # The attempt before was ended between the last two lines above.
    switch_to "$N"
  fi
  : > "$dir/.live"
  printf '%s\n' "$APP" | replace deploy/.last
  healthy "$DEPLOY/releases/$N" || bad_data "release $N has gone live and does not answer"
  previous=$(cat "$dir/.previous")
  log "release $N of $APP is live${previous:+; before it was $previous}"

  result_begin
  result_str app "$APP"
  result_num release "$N"
  result_num previous "${previous:-0}"
  result_str path "$dir"
  result_str current "$DEPLOY/current"
  result_num files "$(count_lines "$dir/MANIFEST")"
  result_raw health "$HTTP_BODY"
  result_end
}

# rollback: goes back to the release that was live before the present one. What is done is written
# down first, under the step's key, so that a repeated attempt never goes back twice.
rollback() {
  find_deployed
  if [ -z "$APP" ] || [ "$RELEASE" -eq 0 ]; then
    not_found 'nothing is deployed, so there is nothing to go back to'
  fi
  note=$DEPLOY/rollbacks/$(short_key)
  if [ ! -f "$note" ]; then
    previous=$(cat "$DEPLOY/releases/$RELEASE/.previous")
    [ -n "$previous" ] || fail 69 "release $RELEASE is the first of $APP; there is nothing to go back to"
    [ -f "$DEPLOY/releases/$previous/.ready" ] || not_found "release $previous is no longer there"
    printf '%s %s\n' "$RELEASE" "$previous" | replace "$note"
  fi
  read -r from to < "$note"
  if [ "$RELEASE" = "$from" ]; then
    healthy "$DEPLOY/releases/$to" || fail 69 "release $to does not answer, so $from stays live"
    switch_to "$to"
    log "$APP went back from release $from to $to"
  else
    log "$APP had already left release $from; $RELEASE is live"
  fi

  result_begin
  result_bool rolled_back true
  result_str app "$APP"
  result_num from "$from"
  result_num to "$to"
  result_str current "$DEPLOY/current"
  result_end
}

status() {
  find_deployed
  releases=0
  if [ -n "$DEPLOY" ]; then
    for dir in "$DEPLOY"/releases/*; do
      if [ -f "$dir/.ready" ]; then releases=$((releases + 1)); fi
    done
  fi
  ok=false
  if [ "$RELEASE" -gt 0 ] && healthy "$DEPLOY/releases/$RELEASE"; then ok=true; fi
  result_begin
  result_str app "$APP"
  result_num release "$RELEASE"
  result_num releases "$releases"
  result_bool healthy "$ok"
  result_end
}

begin
case $MOA_ACTION in
  deploy) deploy ;;
  rollback) rollback ;;
  status) status ;;
  *) unknown_action 'deploy, rollback, status' ;;
esac
