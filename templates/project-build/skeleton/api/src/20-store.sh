# The store: one file per item, its number is its name. A number is taken by creating the file,
# which only one process can do, so no two items ever share one.

store_open() {
  ITEMS=${APP_DATA:?the folder to keep items in}/items
  mkdir -p "$ITEMS"
}

# store_ok: whether the store can be written and read.
store_ok() {
  _probe=$ITEMS/.probe.$$
  printf 'ok' > "$_probe" 2>/dev/null || return 1
  _read=$(cat "$_probe")
  rm -f "$_probe"
  [ "$_read" = ok ]
}

# store_ids: every item's number, in order.
store_ids() {
  for _file in "$ITEMS"/*; do
    [ -f "$_file" ] || continue
    printf '%s\n' "${_file##*/}"
  done | sort -n
}

store_count() {
  _count=$(store_ids | wc -l)
  printf '%d' "$_count"
}

# store_add NAME: sets ID to the new item's number.
store_add() {
  _last=$(store_ids | tail -n 1)
  ID=$((${_last:-0} + 1))
  until (set -C; printf '%s' "$1" > "$ITEMS/$ID") 2>/dev/null; do
    [ -e "$ITEMS/$ID" ] || return 1
    ID=$((ID + 1))
  done
}

# store_get ID: sets NAME. False when there is no such item.
store_get() {
  [ -f "$ITEMS/$1" ] || return 1
  NAME=$(cat "$ITEMS/$1")
}

store_remove() {
  [ -f "$ITEMS/$1" ] || return 1
  rm -f "$ITEMS/$1"
}
