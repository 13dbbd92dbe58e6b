#!/bin/sh
# Deployment Manager: makes releases live and takes them back. service/current is a link that is
# replaced in one step, so there is a live release at every moment.
#
# What a step decides is written down under its key before it is done. A repeated attempt does what
# was decided, and never goes back twice.
. "${0%/*}/lib.sh"
. "${0%/*}/service.sh"

# switch_to VERSION WHY: makes a release the live one, and writes down since when.
switch_to() {
  find_live
  if [ "$LIVE" != "$1" ]; then
    rm -f "$SERVICE/.current.$$"
    ln -s "releases/$1" "$SERVICE/.current.$$"
    if ! mv -T "$SERVICE/.current.$$" "$SERVICE/current" 2>/dev/null; then
      # A mv without -T would move the link into the folder that `current` points to.
      rm -f "$SERVICE/.current.$$"
      ln -sfn "releases/$1" "$SERVICE/current"
    fi
  fi
  if ! grep -qs "$TAB$(short_key)\$" "$SERVICE/history"; then
    printf '%s\t%s\t%s\t%s\n' "$1" "$NOW" "$2" "$(short_key)" >> "$SERVICE/history"
  fi
}

# decide FROM TO: keeps them as this step's decision, unless there is one; sets `note` to its file.
decide() {
  note=$SERVICE/switches/$(short_key)
  [ -f "$note" ] || printf '%s\t%s\n' "$1" "$2" | replace "$note"
}

deploy() {
  take_now
  version=${MOA_PARAM_VERSION:-}
  version_name version "$version"
  [ -d "$SERVICE/releases/$version" ] || not_found "there is no release $SERVICE/releases/$version"
  if [ -f "$SERVICE/bad/$version" ] && [ "${MOA_PARAM_FORCE:-false}" != true ]; then
    bad_data "release $version was taken back before; give force to try it again"
  fi
  find_live
  decide "${LIVE:--}" "$version"
  IFS=$TAB read -r before _ < "$note"
  healthy "$version" || bad_data "release $version does not answer; $before stays live"
  rm -f "$SERVICE/bad/$version"
  switch_to "$version" deployed
  log "$version is live${before:+; before it was $before}"
  result_begin
  result_str version "$version"
  result_str previous "${before#-}"
  result_str current "$SERVICE/current"
  result_end
}

# version_before: prints the release that was live before the present one and isn't known as bad.
version_before() {
  awk -F "$TAB" -v live="$LIVE" '$1 != live { v[++n] = $1 } END { for (; n; n--) print v[n] }' \
    "$SERVICE/history" | while read -r version; do
    if [ -d "$SERVICE/releases/$version" ] && [ ! -f "$SERVICE/bad/$version" ]; then
      printf '%s\n' "$version"
      break
    fi
  done
}

# rollback: goes back to the last good release before the live one.
rollback() {
  take_now
  find_live
  [ -n "$LIVE" ] || not_found 'nothing is live, so there is nothing to go back from'
  before=$(version_before)
  decide "$LIVE" "${before:--}"
  IFS=$TAB read -r from to < "$note"
  if [ "$to" != - ]; then
    healthy "$to" || fail 69 "release $to does not answer, so $from stays live"
    printf '%s\t%s\n' "$NOW" "${MOA_PARAM_REASON:-too many errors}" | replace "$SERVICE/bad/$from"
    # Somebody may have deployed another release since it was decided.
    if [ "$LIVE" = "$from" ]; then switch_to "$to" 'rolled back'; fi
    log "went back from $from to $to"
  else
    log "there is no good release before $from: it stays live"
  fi
  result_begin
  result_bool rolled_back "$([ "$to" != - ] && printf true || printf false)"
  result_str from "$from"
  result_str to "${to#-}"
  result_end
}

status() {
  find_live
  good=false
  if [ -n "$LIVE" ] && healthy "$LIVE"; then good=true; fi
  result_begin
  result_str version "$LIVE"
  result_bool healthy "$good"
  result_raw releases "$(for one in "$SERVICE"/releases/*; do
    quote "${one##*/}"
    printf '%s ' "$QUOTED"
  done | sed 's/ $//;s/ /,/g;s/^/[/;s/$/]/')"
  result_end
}

begin
case $MOA_ACTION in
  deploy) deploy ;;
  rollback) rollback ;;
  status) status ;;
  *) unknown_action 'deploy, rollback, status' ;;
esac
