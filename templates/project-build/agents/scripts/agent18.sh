#!/bin/sh
# Community Hub: writes the release notes of the live release: which files changed since the one
# before, and which settings.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

# names MANIFEST: its files' names and sums as "name sum", sorted.
names() {
  while read -r sum name; do printf '%s %s\n' "${name#./}" "$sum"; done < "$1" | sort
}

# only A B: the names of A that are not in B.
only() {
  _others=$NL$(cat "$2")$NL
  while read -r _name _sum; do
    case $_others in
      *"$NL$_name "*) ;;
      *) printf '%s\n' "$_name" ;;
    esac
  done < "$1"
}

release_notes() {
  find_deployed
  [ "$RELEASE" -gt 0 ] || not_found 'nothing is deployed; run the workflow build-project first'
  dir=$DEPLOY/releases/$RELEASE
  previous=$(cat "$dir/.previous")
  notes=$WORK/notes.$$
  mkdir -p "$notes"
  trap 'rm -rf "$notes"' EXIT
  names "$dir/MANIFEST" > "$notes/new"
  : > "$notes/old"
  if [ -n "$previous" ] && [ -f "$DEPLOY/releases/$previous/MANIFEST" ]; then
    names "$DEPLOY/releases/$previous/MANIFEST" > "$notes/old"
  fi
  only "$notes/new" "$notes/old" > "$notes/added"
  only "$notes/old" "$notes/new" > "$notes/removed"
  old=$NL$(cat "$notes/old")$NL
  while read -r name sum; do
    case $old in
      *"$NL$name $sum$NL"*) ;;
      *"$NL$name "*) printf '%s\n' "$name" ;;
    esac
  done < "$notes/new" > "$notes/changed"

  file=$DEPLOY/notes/release-$RELEASE.md
  {
    printf '# %s, release %s\n\n' "$APP" "$RELEASE"
    printf 'Live since %s.\n' "$(cat "$dir/.ready")"
    section Added "$notes/added"
    section Changed "$notes/changed"
    section Removed "$notes/removed"
    printf '\n## Settings\n\n'
    while IFS= read -r line; do
      case $line in '' | '#'*) ;; *) printf '    %s\n' "$line" ;; esac
    done < "$dir/app.conf"
  } | replace "$file"

  result_begin
  result_str app "$APP"
  result_num release "$RELEASE"
  result_num previous "${previous:-0}"
  result_str file "$file"
  result_num added "$(count_lines "$notes/added")"
  result_num changed "$(count_lines "$notes/changed")"
  result_num removed "$(count_lines "$notes/removed")"
  result_end
}

section() { # section TITLE FILE
  [ -s "$2" ] || return 0
  printf '\n## %s\n\n' "$1"
  while read -r name; do printf -- '- %s\n' "$name"; done < "$2"
}

begin
case $MOA_ACTION in
  release_notes) release_notes ;;
  *) unknown_action release_notes ;;
esac
