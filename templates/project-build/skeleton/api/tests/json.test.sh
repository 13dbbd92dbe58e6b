. tests/check.sh
. src/10-json.sh

json_quote 'plain'
same 'plain text is quoted' '"plain"' "$JSON"
json_quote 'say "hi" \ bye'
same 'quotes and backslashes are escaped' '"say \"hi\" \\ bye"' "$JSON"
json_quote "$(printf 'two\nlines')"
same 'control characters become spaces' '"two lines"' "$JSON"

yes 'a field is found' json_field name '{"name": "pen"}'
same 'its text is read' 'pen' "$FIELD"
yes 'escapes are understood' json_field name '{"id":1,"name":"a \"b\" \\c"}'
same 'and undone' 'a "b" \c' "$FIELD"
no 'a missing field is not found' json_field name '{"title":"pen"}'
no 'a number is not a string' json_field name '{"name": 7}'
no 'an unfinished string is refused' json_field name '{"name": "pen'

finish
