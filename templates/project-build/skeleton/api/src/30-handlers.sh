# One handler for each route of api/routes.tsv. A handler sets STATUS and BODY.

handle_health() {
  if store_ok; then
    STATUS='200 OK'
    BODY="{\"status\":\"ok\",\"release\":\"$APP_RELEASE\",\"items\":$(store_count)}"
  else
    STATUS='503 Service Unavailable'
    BODY='{"status":"down","error":"the data folder cannot be written"}'
  fi
}

# item_json ID NAME: sets ITEM.
item_json() {
  json_quote "$2"
  ITEM="{\"id\":$1,\"name\":$JSON}"
}

handle_items_list() {
  _list=''
  for _id in $(store_ids); do
    store_get "$_id" || continue
    item_json "$_id" "$NAME"
    _list="${_list:+$_list,}$ITEM"
  done
  STATUS='200 OK'
  BODY="{\"items\":[$_list]}"
}

handle_items_create() {
  if ! json_field name "$REQUEST_BODY" || [ -z "$FIELD" ]; then
    problem '400 Bad Request' 'the body must be {"name": "..."} with a name that is not empty'
  elif [ "${#FIELD}" -gt 200 ]; then
    problem '400 Bad Request' 'the name may have 200 bytes at most'
  elif [ "$(store_count)" -ge "$ITEMS_MAX" ]; then
    problem '507 Insufficient Storage' "the store holds $ITEMS_MAX items at most"
  elif store_add "$FIELD"; then
    item_json "$ID" "$FIELD"
    STATUS='201 Created'
    BODY=$ITEM
  else
    problem '500 Internal Server Error' 'the item could not be written'
  fi
}

handle_items_read() {
  if is_id "$1" && store_get "$1"; then
    item_json "$1" "$NAME"
    STATUS='200 OK'
    BODY=$ITEM
  else
    handle_not_found
  fi
}

handle_items_delete() {
  if is_id "$1" && store_remove "$1"; then
    STATUS='200 OK'
    BODY="{\"deleted\":$1}"
  else
    handle_not_found
  fi
}

handle_not_found() { problem '404 Not Found' 'there is nothing here'; }

# problem STATUS TEXT: an error as the client sees it.
problem() {
  json_quote "$2"
  STATUS=$1
  BODY="{\"error\":$JSON}"
}

# is_id TEXT: whether TEXT can be an item's number.
is_id() {
  case $1 in
    '' | 0* | *[!0-9]* | ??????????*) return 1 ;;
  esac
}
