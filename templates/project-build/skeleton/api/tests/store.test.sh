. tests/check.sh
. src/20-store.sh

APP_DATA=$(mktemp -d)
trap 'rm -rf "$APP_DATA"' EXIT
store_open

yes 'an empty store works' store_ok
same 'and is empty' 0 "$(store_count)"
store_add 'pen'
same 'the first item is 1' 1 "$ID"
store_add 'ink'
same 'the second item is 2' 2 "$ID"
yes 'an item is found' store_get 1
same 'with its name' 'pen' "$NAME"
no 'an item that is not there is not found' store_get 9
yes 'an item is removed' store_remove 1
no 'only once' store_remove 1
same 'the other one stays' '2' "$(store_ids)"

# Ten processes at once take ten different numbers.
for n in 1 2 3 4 5 6 7 8 9 10; do
  (store_add "parallel $n") &
done
wait
same 'no number is given twice' 11 "$(store_count)"

finish
