#!/bin/sh
# Navigation Helper: follows the links between an application's pages, writes its site map, and
# names links that lead nowhere and pages that nothing leads to.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

# links FILE: the value of every href in FILE, one a line.
links() {
  left=$(tr '\n' ' ' < "$1")
  while :; do
    case $left in
      *href=\"*) ;;
      *) return 0 ;;
    esac
    left=${left#*href=\"}
    printf '%s\n' "${left%%\"*}"
  done
}

json_list() { # json_list FILE: its lines as a JSON array
  _items=''
  while IFS= read -r _line; do
    quote "$_line"
    _items="${_items:+$_items,}$QUOTED"
  done < "$1"
  printf '[%s]' "$_items"
}

map_site() {
  find_app
  site=$APP_DIR/public
  [ -f "$site/index.html" ] || not_found "there is no $site/index.html"
  notes=$WORK/site.$$
  mkdir -p "$notes"
  trap 'rm -rf "$notes"' EXIT
  : > "$notes/targets"
  : > "$notes/broken"
  : > "$notes/orphans"
  (cd "$site" && list_files .) | cut -c 3- > "$notes/files"
  pages=0 count=0
  while read -r page; do
    case $page in *.html) ;; *) continue ;; esac
    pages=$((pages + 1))
    printf '%s\n' "$page" >> "$notes/pages"
    links "$site/$page" > "$notes/links"
    while read -r link; do
      count=$((count + 1))
      case $link in
        *:* | '#'*) continue ;;
      esac
      target=${link%%[?#]*}
      if [ -f "$site/$target" ]; then
        printf '%s\n' "$target" >> "$notes/targets"
      else
        printf '%s -> %s\n' "$page" "$link" >> "$notes/broken"
      fi
    done < "$notes/links"
  done < "$notes/files"
  reached="$NL$(cat "$notes/targets")$NL"
  sort "$notes/pages" | while read -r page; do
    case ${reached}index.html$NL in
      *"$NL$page$NL"*) ;;
      *) printf '%s\n' "$page" ;;
    esac
  done > "$notes/orphans"
  sort "$notes/pages" | replace "$site/sitemap.txt"

  result_begin
  result_str app "$APP"
  result_str file "$site/sitemap.txt"
  result_num pages "$pages"
  result_num links "$count"
  result_raw broken "$(json_list "$notes/broken")"
  result_raw orphans "$(json_list "$notes/orphans")"
  result_end
}

begin
case $MOA_ACTION in
  map_site) map_site ;;
  *) unknown_action map_site ;;
esac
