. tests/check.sh
APP_TEST=yes
APP_RELEASE=7
for part in src/*.sh; do
  . "./$part"
done

APP_DATA=$(mktemp -d)
trap 'rm -rf "$APP_DATA"' EXIT
settings
store_open

# ask METHOD PATH [BODY]: sets STATUS and BODY.
ask() {
  REQUEST_BODY=${3:-}
  route "$1" "$2"
}

ask GET /health
same 'health answers' '200 OK' "$STATUS"
same 'and names the release' '{"status":"ok","release":"7","items":0}' "$BODY"

ask GET /items
same 'no items at first' '{"items":[]}' "$BODY"
ask POST /items '{"name":"pen"}'
same 'an item is created' '201 Created' "$STATUS"
same 'and answered' '{"id":1,"name":"pen"}' "$BODY"
ask POST /items '{"title":"pen"}'
same 'an item needs a name' '400 Bad Request' "$STATUS"
ask GET /items/1
same 'an item is read' '{"id":1,"name":"pen"}' "$BODY"
ask GET /items/01
same 'a number has one spelling' '404 Not Found' "$STATUS"
ask GET /items/../../etc/passwd
same 'a path is not an id' '404 Not Found' "$STATUS"
ask GET /nothing
same 'an unknown path is not found' '404 Not Found' "$STATUS"
ask PUT /items
same 'a wrong method is said to be wrong' '405 Method Not Allowed' "$STATUS"
ask DELETE /items/1
same 'an item is removed' '{"deleted":1}' "$BODY"
ask DELETE /items/1
same 'once' '404 Not Found' "$STATUS"

ITEMS_MAX=0
ask POST /items '{"name":"pen"}'
same 'a full store says so' '507 Insufficient Storage' "$STATUS"

finish
