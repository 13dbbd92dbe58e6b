# Where applications, their releases and their logs are kept. Read after lib.sh.
#
#   apps/NAME                     the sources of an application
#   deploy/NAME/releases/N        its releases, numbered from 1; deploy/NAME/current is a link to one
#   deploy/NAME/data              the deployed application's own data
#   logs/NAME.access.log          what it was asked: time, release, method, path, status, ms
#   logs/sample.access.log        the same of a service that is not here, to try things with

# find_app: sets APP and APP_DIR: by param, by what an earlier step says, by what this run has
# scaffolded, or else the application that was made last.
find_app() {
  APP=${MOA_PARAM_APP:-${MOA_PARAM_NAME:-}}
  if [ -z "$APP" ] && input_get app; then APP=$VALUE; fi
  if [ -z "$APP" ] && [ -f "$WORK/app" ]; then APP=$(cat "$WORK/app"); fi
  if [ -z "$APP" ] && [ -f apps/.last ]; then APP=$(cat apps/.last); fi
  [ -n "$APP" ] || not_found "there is no application yet; run the workflow build-project first"
  safe_name app "$APP"
  APP_DIR=apps/$APP
  [ -f "$APP_DIR/.scaffold" ] || not_found "there is no application at $APP_DIR"
}

# find_deployed: sets APP, DEPLOY and RELEASE, the number that `current` points to (0 = nothing is
# deployed). APP is empty when nothing ever was.
find_deployed() {
  APP=${MOA_PARAM_APP:-}
  if [ -z "$APP" ] && input_get app; then APP=$VALUE; fi
  if [ -z "$APP" ] && [ -f deploy/.last ]; then APP=$(cat deploy/.last); fi
  RELEASE=0
  DEPLOY=''
  [ -n "$APP" ] || return 0
  safe_name app "$APP"
  DEPLOY=deploy/$APP
  if [ -L "$DEPLOY/current" ]; then
    RELEASE=$(readlink "$DEPLOY/current")
    RELEASE=${RELEASE##*/}
  fi
}

# find_log: sets LOG to the access log to read and LOG_RELEASE to the release it is about (empty =
# all lines): the param `log`, else the deployed application's, else the sample.
find_log() {
  find_deployed
  LOG_RELEASE=''
  LOG=${MOA_PARAM_LOG:-}
  if [ -z "$LOG" ] && [ "$RELEASE" -gt 0 ]; then
    LOG=logs/$APP.access.log
    LOG_RELEASE=$RELEASE
  fi
  : "${LOG:=logs/sample.access.log}"
  case $LOG in
    /* | ../* | */../* | */..) usage "param 'log' is '$LOG'; it must be a file inside the project" ;;
  esac
  [ -f "$LOG" ] || not_found "there is no log at $LOG"
}

# request RELEASE_DIR METHOD PATH [BODY]: asks a release as a web server would, with the deployed
# application's data and log unless REQUEST_DATA and REQUEST_LOG name others.
# Sets HTTP_STATUS and HTTP_BODY.
request() {
  set -- "$1" "$2" "$3" "${4:-}"
  _answer=$(
    APP_RELEASE=${1##*/}
    APP_DATA=${REQUEST_DATA:-$DEPLOY/data}
    APP_CONFIG=$1/app.conf
    APP_LOG=${REQUEST_LOG:-logs/$APP.access.log}
    REQUEST_METHOD=$2
    PATH_INFO=$3
    CONTENT_LENGTH=${#4}
    export APP_RELEASE APP_DATA APP_CONFIG APP_LOG REQUEST_METHOD PATH_INFO CONTENT_LENGTH
    printf '%s' "$4" | sh "$1/app"
  ) || _answer='Status: 502 Bad Gateway'
  HTTP_STATUS=${_answer#Status: }
  HTTP_STATUS=${HTTP_STATUS%% *}
  HTTP_BODY=${_answer##*"$NL"}
}
