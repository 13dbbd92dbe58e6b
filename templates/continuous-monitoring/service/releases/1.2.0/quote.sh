#!/bin/sh
# A small service: what does it cost to send a parcel? It answers one request per process, as a web
# server would have it by CGI: the request in REQUEST_METHOD, PATH_INFO and QUERY_STRING, the answer
# on standard output.
set -eu
here=${0%/*}
TAB='	'

answer() { # answer STATUS JSON
  printf 'Status: %s\nContent-Type: application/json\n\n%s\n' "$1" "$2"
  exit 0
}

# param NAME: prints a param of the query.
param() {
  printf '%s' "${QUERY_STRING:-}" | tr '&' '\n' | sed -n "s/^$1=//p" | head -n 1
}

# rate ZONE: sets BASE, PER_KG and MAX_KG, in cents and kilograms; fails when the table has no such zone.
rate() {
  while IFS=$TAB read -r zone base per_kg max_kg; do
    if [ "$zone" = "$1" ]; then
      BASE=$base
      PER_KG=$per_kg
      MAX_KG=$max_kg
      return 0
    fi
  done < "$here/rates.tsv"
  return 1
}

quote() {
  zone=$(param zone)
  weight=$(param weight)
  case $weight in
    '' | *[!0-9]* | ????*) answer '400 Bad Request' '{"error":"weight must be kilograms, 0 to 999"}' ;;
  esac
  case $zone in
    home | eu | world) ;;
    *) answer '404 Not Found' '{"error":"the zones are home, eu and world"}' ;;
  esac
  rate "$zone" || answer '500 Internal Server Error' "{\"error\":\"no rate for $zone\"}"
  [ "$weight" -le "$MAX_KG" ] || answer '422 Unprocessable' "{\"error\":\"at most $MAX_KG kg\"}"
  answer '200 OK' "{\"zone\":\"$zone\",\"weight\":$weight,\"cents\":$((BASE + PER_KG * weight))}"
}

case ${REQUEST_METHOD:-GET}\ ${PATH_INFO:-/} in
  'GET /quote') quote ;;
  'GET /health')
    [ -s "$here/rates.tsv" ] || answer '503 Service Unavailable' '{"status":"down"}'
    answer '200 OK' '{"status":"ok"}' ;;
  *) answer '404 Not Found' '{"error":"there is nothing here"}' ;;
esac
