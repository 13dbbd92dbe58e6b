#!/bin/sh
# DevOps & Containerization: writes a Dockerfile for an application (once; yours to change) and
# checks it. It builds no image: that needs a container engine.
. "${0%/*}/lib.sh"
. "${0%/*}/apps.sh"

write_dockerfile() {
  cat <<'END'
# Serves dist/app as CGI under /cgi-bin/app, with the pages of public/ beside it.
FROM busybox:1.36.1
RUN adduser -D -H service && mkdir -p /srv/cgi-bin /data && chown service /data
COPY dist/app /srv/cgi-bin/app
COPY config/app.conf /srv/app.conf
COPY public/ /srv/
ENV APP_DATA=/data APP_CONFIG=/srv/app.conf
USER service
EXPOSE 8080
HEALTHCHECK CMD wget -q -O - http://127.0.0.1:8080/cgi-bin/app/health || exit 1
CMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]
END
}

problem() {
  log "$APP_DIR/Dockerfile: $1"
  quote "$1"
  problems="${problems:+$problems,}$QUOTED"
}

# check_dockerfile: a pinned base, a user that is not root, a health check, and nothing copied that
# isn't there.
check_dockerfile() {
  problems='' user='' health=no from=no
  while IFS= read -r line || [ -n "$line" ]; do
    set -f
    set -- $line
    set +f
    case ${1:-} in
      FROM)
        from=yes
        case ${2:-} in
          *:latest) problem "the base ${2} changes under you; name a version" ;;
          *:* | *@sha256:*) ;;
          *) problem "the base ${2:-} has no version" ;;
        esac ;;
      USER) user=${2:-} ;;
      HEALTHCHECK) health=yes ;;
      COPY | ADD)
        if [ ! -e "$APP_DIR/${2:-}" ]; then problem "${2:-} is copied and isn't there"; fi ;;
    esac
  done < "$APP_DIR/Dockerfile"
  [ "$from" = yes ] || problem 'no FROM'
  case $user in '' | root | 0) problem 'it runs as root' ;; esac
  [ "$health" = yes ] || problem 'no HEALTHCHECK'
}

containerize() {
  find_app
  written=false
  if [ ! -f "$APP_DIR/Dockerfile" ]; then
    write_dockerfile | replace "$APP_DIR/Dockerfile"
    printf '%s\n' '*' '!dist/app' '!config/app.conf' '!public' | replace "$APP_DIR/.dockerignore"
    written=true
  fi
  check_dockerfile
  passed=true
  if [ -n "$problems" ]; then passed=false; fi

  result_begin
  result_bool passed "$passed"
  result_str app "$APP"
  result_str file "$APP_DIR/Dockerfile"
  result_bool written "$written"
  result_raw problems "[$problems]"
  result_end
}

begin
case $MOA_ACTION in
  containerize) containerize ;;
  *) unknown_action containerize ;;
esac
