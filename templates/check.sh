#!/bin/sh
# Tries the agents of every template by hand, without moa: each attempt is started as moa starts
# it, in a copy of the template, with nothing on the path but sh and coreutils. Says what failed.
#
#     sh templates/check.sh
#
# What it can't show (order, retries, recovery) is shown by `moa test` and `moa run`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
box=$(mktemp -d)
trap 'rm -rf "$box"' EXIT
failed=0
checks=0

# The programs of coreutils that the agents may use, and sh.
mkdir "$box/bin"
for program in sh basename cat chmod cksum cp cut date df dirname env expr head id ln ls mkdir mktemp \
  mv nl od paste printf pwd readlink rm rmdir seq sha256sum sleep sort split stat tail tee touch tr \
  true uniq wc; do
  for folder in /usr/bin /bin; do
    [ ! -x "$folder/$program" ] || ln -sf "$folder/$program" "$box/bin/$program"
  done
done
[ ! -x /bin/dash ] || ln -sf /bin/dash "$box/bin/sh"
# Two templates also use these.
mkdir "$box/text"
for program in awk sed grep; do
  for folder in /usr/bin /bin; do
    [ ! -x "$folder/$program" ] || ln -sf "$folder/$program" "$box/text/$program"
  done
done

project() { # project TEMPLATE: a fresh project
  cp -R "$here/$1" "$box/$1"
  P=$box/$1
  USES=$box/bin
  run=1
}

# ask AGENT ACTION [NAME=VALUE…]: one attempt; sets CODE and OUT.
ask() {
  agent=$1
  action=$2
  shift 2
  out=$box/output
  rm -f "$out"
  CODE=0
  (
    cd "$P"
    printf '%s' "${REQUEST:-{\}}" | env -i PATH="$USES" MOA_PROJECT="$P" MOA_RUN_ID="run-$run" \
      MOA_WORKFLOW=check MOA_STEP="$action${STEP:-}" MOA_ITERATION='' MOA_ATTEMPT=1 \
      MOA_AGENT="$agent" MOA_ACTION="$action" \
      MOA_IDEMPOTENCY_KEY="run-$run/$action${STEP:-}" MOA_OUTPUT="$out" \
      MOA_WORK_DIR="$P/.moa/work/run-$run" "$@" sh "agents/scripts/$agent.sh"
  ) > "$box/stdout" 2> "$box/stderr" || CODE=$?
  OUT=''
  [ ! -f "$out" ] || OUT=$(cat "$out")
}

# gives CODE TEXT WHAT…: checks what the last `ask` gave. TEXT is a pattern.
gives() {
  checks=$((checks + 1))
  code=$1
  text=$2
  shift 2
  # shellcheck disable=SC2254 # a pattern is meant
  case $CODE:$OUT in
    $code:$text) ;;
    *)
      failed=$((failed + 1))
      printf 'not ok: %s\n  exit %s, output %s\n' "$*" "$CODE" "$OUT"
      cat "$box/stderr" ;;
  esac
}

exists() {
  checks=$((checks + 1))
  if [ ! -e "$P/$1" ]; then
    failed=$((failed + 1))
    printf 'not ok: %s is not there\n' "$1"
  fi
}

says() { # says FILE TEXT
  checks=$((checks + 1))
  case $(cat "$P/$1") in
    *"$2"*) ;;
    *) failed=$((failed + 1)); printf 'not ok: %s does not say %s\n' "$1" "$2" ;;
  esac
}

for script in "$here"/*/agents/scripts/*.sh "$here"/*/skeleton/api/*.sh \
  "$here"/*/skeleton/api/*/*.sh; do
  checks=$((checks + 1))
  "$box/bin/sh" -n "$script" || failed=$((failed + 1))
done
for shared in lib.sh csv.sh; do
  for copy in "$here"/*/agents/scripts/"$shared"; do
    checks=$((checks + 1))
    if [ "$(cat "$here/project-build/agents/scripts/$shared")" != "$(cat "$copy")" ]; then
      failed=$((failed + 1))
      printf 'not ok: %s differs from that of project-build\n' "$copy"
    fi
  done
done

# ---- blank
project blank
ask writer write MOA_PARAM_NAME='A "quoted" \ name'
gives 0 '{"to":"A \\"quoted\\" \\\\ name",*' writer.write
ask writer count MOA_PARAM_FILE=out/letter.txt
gives 0 '{"words":*}' writer.count
ask writer count MOA_PARAM_FILE=out/none.txt
gives 66 '' writer.count of a file that is not there
# Another run writes the same letter just before this one moves its own into place.
mkdir "$box/meanwhile"
cat > "$box/meanwhile/mv" << EOF
#!$box/bin/sh
PATH=$box/bin
export PATH
sh agents/scripts/writer.sh
exec mv "\$@"
EOF
chmod +x "$box/meanwhile/mv"
USES=$box/meanwhile:$box/bin
ask writer write MOA_PARAM_NAME=Ada
USES=$box/bin
gives 0 '{"to":"Ada",*' writer.write while another run writes
ask writer sing
gives 64 '' an unknown action

# ---- data-pipeline
project data-pipeline
ask intake ingest MOA_PARAM_SOURCE=../orders.csv
gives 64 '' a source outside of the project
ask intake ingest MOA_PARAM_SOURCE=data/orders.csv
gives 0 '*"rows":275,"months":\["2025-12","2026-01",*,"unknown"\]*' intake.ingest
for month in 2025-12 2026-01 2026-02 2026-03 2026-04 unknown; do
  for twice in 1 2; do
    STEP=_$month
    ask cleaner clean MOA_PARAM_FOLDER=.moa/work/run-1/orders MOA_PARAM_MONTH="$month"
    gives 0 '*"month":*' cleaner.clean "$month" "$twice"
    ask checker validate MOA_PARAM_FOLDER=.moa/work/run-1/orders MOA_PARAM_MONTH="$month"
    gives 0 '*"valid":*' checker.validate "$month" "$twice"
  done
done
STEP=''
ask checker merge MOA_PARAM_FOLDER=.moa/work/run-1/orders
gives 0 '*"valid":251,"rejected":24,"twice":5,"rejected_share":0.0872*' checker.merge
for by in month country category customer; do
  ask analyst analyse MOA_PARAM_ORDERS=.moa/work/run-1/orders/orders.csv MOA_PARAM_BY="$by"
  gives 0 '*"revenue_eur":58910.01,*' analyst.analyse by "$by"
done
ask publisher publish MOA_PARAM_ORDERS=.moa/work/run-1/orders/orders.csv
gives 0 '*"orders":251,"rejected":24,"revenue_eur":58910.01,*' publisher.publish
says out/sales-report/report.md '| DE | 73 | 406 | 19129.42 |'
ask publisher quarantine MOA_PARAM_ORDERS=.moa/work/run-1/orders/orders.csv
gives 0 '*"rows":24}' publisher.quarantine
echo >> "$P/data/orders.csv"
ask intake ingest MOA_PARAM_SOURCE=data/orders.csv
gives 75 '' a file that does not fit its checksum is for later

# ---- project-build
project project-build
ask agent19 rollback
gives 66 '' a rollback of nothing
ask agent9 track_errors
gives 0 '{"error_rate":0.0156,"log":"logs/sample.access.log",*' agent9.track_errors of the sample
ask agent1 create_api
gives 66 '' an API of nothing
ask agent6 scaffold_project MOA_PARAM_NAME=../x
gives 64 '' a name that is a path
ask agent6 scaffold_project MOA_PARAM_NAME=my-project MOA_PARAM_TEMPLATE=typescript-api
gives 0 '*"files_created":14,"files_kept":0}' agent6.scaffold_project
ask agent6 scaffold_project MOA_PARAM_NAME=my-project MOA_PARAM_TEMPLATE=typescript-api
gives 0 '*"files_created":0,"files_kept":14}' agent6.scaffold_project again
REQUEST='{"inputs":{"scaffold":{"app":"my-project"}}}'
ask agent1 create_api
gives 0 '*"routes":5,*"tests":{"passed":35,"failed":0}}' agent1.create_api
ask agent6 build
gives 0 '*"sha256":*' agent6.build
ask agent6 test
gives 0 '*"passed":35,"failed":0}' agent6.test
ask agent7 code_quality_check
gives 0 '*"score":100,*' agent7.code_quality_check
ask agent10 security_scan
gives 0 '{"passed":true,*"high":0,"medium":0,*' agent10.security_scan
ask agent8 performance_test
gives 0 '*"requests":30,"errors":0,*' agent8.performance_test
for twice in 1 2; do
  ask agent19 deploy
  gives 0 '*"release":1,"previous":0,*' agent19.deploy "$twice"
done
ask agent8 send_traffic MOA_PARAM_REQUESTS=16
gives 0 '*"answered":16,"refused":0,"broken":0}' agent8.send_traffic
ask agent9 track_errors
gives 0 '{"error_rate":0.0000,*"release":1,*' agent9.track_errors
run=2
ask agent19 rollback
gives 69 '' a rollback of the first release
ask agent19 deploy MOA_PARAM_SETTINGS=items_max=0
gives 0 '*"release":2,"previous":1,*' agent19.deploy with a bad setting
ask agent8 send_traffic MOA_PARAM_REQUESTS=24
gives 0 '*"broken":6}' agent8.send_traffic to a bad release
ask agent8 collect_metrics
gives 0 '*"load1":*' agent8.collect_metrics
ask agent9 track_errors
gives 0 '{"error_rate":0.2307,*' agent9.track_errors of a bad release
ask agent18 release_notes
gives 0 '*"added":0,"changed":1,"removed":0}' agent18.release_notes
for twice in 1 2; do
  STEP=_drill
  ask agent19 rollback
  gives 0 '*"from":2,"to":1,*' agent19.rollback "$twice"
done
STEP=''
ask agent19 status
gives 0 '*"release":1,"releases":2,"healthy":true}' agent19.status
ask agent2 map_site
gives 0 '*"pages":2,"links":3,"broken":\[\],"orphans":\[\]}' agent2.map_site
ask agent3 extract_data
gives 0 '*"unread_lines":0,*' agent3.extract_data
ask agent4 classify_errors
gives 0 '*"classes":\[*' agent4.classify_errors
ask agent5 containerize
gives 0 '{"passed":true,*' agent5.containerize
ask agent9 log_error MOA_PARAM_MESSAGE='it "broke"'
gives 0 '*"recorded":1}' agent9.log_error
ask agent11 check_accessibility
gives 0 '{"passed":true,*"pages":2,*' agent11.check_accessibility
ask agent12 smoke_test
gives 0 '{"passed":true,*"checks":8,*' agent12.smoke_test
ask agent13 audit_docs
gives 0 '{"passed":true,*' agent13.audit_docs
ask agent14 clean_up
gives 0 '*"kept":2,*' agent14.clean_up
ask agent15 check_contract
gives 0 '{"passed":true,*"routes":5,*' agent15.check_contract
ask agent17 learn_baseline
gives 0 '*"routes":4,*' agent17.learn_baseline
for action in ingest_data transform_data validate_data; do
  ask agent16 "$action"
  gives 0 '{*' "agent16.$action"
done
ask agent11 analyze_data
gives 0 '*"readings":183,*' agent11.analyze_data
ask agent16 export_data
gives 0 '*"rows":183,*' agent16.export_data
says out/data/report.md '| cellar | 44 | 12.0 |'

# What must be found is found.
printf 'PASSWORD="hunter2"\n' > "$P/apps/my-project/config/local.conf"
printf '# a\neval "$1" \n' > "$P/apps/my-project/src/99-bad.sh"
chmod 666 "$P/apps/my-project/src/99-bad.sh"
ask agent10 security_scan
gives 0 '{"passed":false,*"high":3,*' the scan of a bad application
ask agent7 code_quality_check MOA_PARAM_MIN_SCORE=100
gives 65 '' the quality check of a bad application
printf 'if\n' >> "$P/apps/my-project/src/99-bad.sh"
ask agent1 create_api
gives 65 '' an application with a syntax error
rm "$P/apps/my-project/src/99-bad.sh"
printf 'GET\t/more\tmore\tMore.\n' >> "$P/apps/my-project/api/routes.tsv"
ask agent1 create_api
gives 65 '' a route without a handler
printf '<html><body><img src="x"><a href="gone.html">x</a></body></html>\n' \
  > "$P/apps/my-project/public/bad.html"
ask agent11 check_accessibility
gives 0 '{"passed":false,*"pages":3,*' the accessibility of a bad page
ask agent2 map_site
gives 0 '*"broken":\["bad.html -> gone.html"\],"orphans":\["bad.html"\]}' the links of a bad page

# ---- video-production
project video-production
USES=$box/bin:$box/text
noon=MOA_PARAM_NOW=2026-03-01T12:00:00Z
for twice in 1 0; do
  ask content_curator pick MOA_PARAM_NOW=2026-03-01T00:00:00Z
  gives 0 "*\"number\":1,*\"topics_left\":89,\"topics_curated\":$twice}" content_curator.pick "$twice"
done
video=2026-03-01-what-voltage-really-is-explainer
for twice in 1 2; do
  ask content_curator claim "$noon"
  gives 0 "*\"video\":\"$video\",*\"revision\":1}" content_curator.claim "$twice"
done
run=2
ask content_curator claim "$noon"
gives 0 '*-worked-example",*' another run claims another video
ask content_curator release MOA_PARAM_REASON='it broke'
gives 0 '{"released":true,*-worked-example"}' content_curator.release
run=3
ask content_curator claim MOA_PARAM_NOW=2026-03-02T01:00:00Z
gives 0 "*\"video\":\"$video\",*" a claim of thirteen hours ago is taken over
run=1
set -- MOA_PARAM_VIDEO="$video" MOA_PARAM_REVISION=1
ask instructional_designer design "$@"
gives 66 '' a lesson plan of no script
for twice in 1 2; do
  ask scriptwriter generate_script "$@"
  gives 0 '*"format":"explainer","words":[23][0-9][0-9],*' scriptwriter.generate_script "$twice"
  ask instructional_designer design "$@"
  gives 0 '*"prerequisites":\["resistance"\],"seconds":1[0-9][0-9].[0-9],*' instructional_designer.design
  ask voice_production produce_voice "$@"
  gives 0 '{"voice":"none",*"audio":"",*' voice_production.produce_voice "$twice"
  ask video_assembly assemble_video "$@"
  gives 0 '{"rendered":"storyboard",*"frames":1[0-9],*' video_assembly.assemble_video "$twice"
  ask video_quality_reviewer review "$@"
  gives 0 '*"quality":100,*"similar":0.000,"loudness_db":null,"findings":0}' video_quality_reviewer
done
says "data/videos/$video/r1/captions.srt" '00:00:00,000 --> '
says "data/videos/$video/r1/plan.md" 'Q: You measure zero volts across a closed switch.'
exists "data/videos/$video/r1/storyboard/001.svg"
for reviewer in language pedagogy pacing originality; do
  ask quality_review_committee vote "$@" MOA_PARAM_REVIEWER="$reviewer"
  gives 0 '*"vote":"approve",*' "$reviewer"
done
ask quality_review_committee vote "$@" MOA_PARAM_REVIEWER=sound
gives 0 '*"vote":"abstain",*' nothing to hear
ask ab_test_orchestrator release "$@" "$noon"
gives 66 '' a release before the committee
ask quality_review_committee decide "$@"
gives 64 '' a decision that nobody made
ask quality_review_committee decide "$@" MOA_PARAM_APPROVED=true
gives 0 '{"approved":true,"votes_for":4,"votes_against":0,"abstained":1,*' quality_review_committee.decide
ask ab_test_orchestrator create_variants "$@"
gives 0 '*"variant":"B","style":"question",*"variants_created":3}' ab_test_orchestrator.create_variants
for once in 1 0; do
  ask ab_test_orchestrator release "$@" "$noon"
  gives 0 "*\"videos_produced\":$once}" ab_test_orchestrator.release "$once"
done
for twice in 1 2; do
  ask youtube_uploader plan "$noon"
  gives 0 "*\"videos\":\\[\"$video\"\\],\"waiting\":0,\"units_used\":1600,*" youtube_uploader.plan
done
for once in 1 0; do
  ask youtube_uploader publish MOA_PARAM_VIDEO="$video"
  gives 0 '*"mp4":false,"file":"",*' youtube_uploader.publish "$once"
  ask youtube_uploader record MOA_PARAM_VIDEO="$video" "$noon"
  gives 0 "*\"videos_uploaded\":$once}" youtube_uploader.record "$once"
done
ask youtube_uploader build_index
gives 0 '*"videos":1}' youtube_uploader.build_index
says channel/index.html "videos/$video/index.html"
ask analytics_committee collect MOA_PARAM_NOW=2026-03-15T12:00:00Z
gives 0 '{"source":"model","simulated":true,"videos":1,*' analytics_committee.collect
for once in 1 0; do
  ask analytics_committee decide_tests
  gives 0 "{\"tests_decided\":$once,*\"tests_over\":1}" analytics_committee.decide_tests "$once"
done
ask analytics_committee flag_underperformers
gives 0 '{"underperforming":0,*' analytics_committee.flag_underperformers
ask analytics_committee recommend MOA_PARAM_NOW=2026-03-15T12:00:00Z
gives 0 '{"report":"reports/analytics.md",*' analytics_committee.recommend
says reports/analytics.md 'come from a model of an audience, not from viewers'
# A program that fails in the middle fails the attempt, and leaves what was there.
mkdir "$box/broken"
printf '#!%s\nexit 3\n' "$box/bin/sh" > "$box/broken/awk"
chmod +x "$box/broken/awk"
before=$(cat "$P/data/analytics/counts.tsv")
USES=$box/broken:$USES
ask analytics_committee collect MOA_PARAM_NOW=2026-03-20T12:00:00Z
gives 3 '' analytics_committee.collect with a broken awk
USES=${USES#*:}
says data/analytics/counts.tsv "$before"
ask content_curator analyze_gaps "$noon"
gives 0 '{"atoms":52,"covered":3,"missing":49,"unknown":0,"given_up":0,*' content_curator.analyze_gaps
ask trend_scout analyze MOA_PARAM_NOW=2026-03-15T00:00:00Z
gives 0 '{"week":"2026-03-15","changes":*' trend_scout.analyze
ask design_committee publish MOA_PARAM_WEEK=2026-03-15
gives 64 '' a style guide that nobody has decided on
for reviewer in evidence continuity audience; do
  ask design_committee vote MOA_PARAM_WEEK=2026-03-15 MOA_PARAM_REVIEWER="$reviewer"
  gives 0 '*"vote":"*' "$reviewer"
done
for twice in 1 2; do
  ask design_committee publish MOA_PARAM_WEEK=2026-03-15 MOA_PARAM_ACCEPTED=true
  gives 0 '{"accepted":*' design_committee.publish "$twice"
done
says CHANNEL_STYLE_GUIDE.md 'a model of an audience, not of viewers'

# Quota: a seventh upload waits, and goes the day after in California.
for n in 1 2 3 4 5 6; do
  printf 'v%s\t%s\tquiz\tvoltage\t1\telectricity\t60\t100\tstoryboard\tplain\tT\n' "$n" "$n" \
    > "$P/data/ready/v$n.tsv"
done
ask youtube_uploader plan MOA_PARAM_NOW=2026-03-02T07:59:59Z
gives 0 '{"quota_day":"2026-03-01",*"v1",*"v5"\],"waiting":1,"units_used":9600,"units_left":400}' quota
ask youtube_uploader plan MOA_PARAM_NOW=2026-03-02T08:00:00Z
gives 0 '{"quota_day":"2026-03-02",*"v6"\],"waiting":0,"units_used":9600,*' the quota of the next day

# What must not pass.
printf '<script>alert(1)</script>' > "$P/evil"
printf 'e-1\t9\tquiz\tvoltage\t1\ta"b\t60\t100\tstoryboard\tplain\t%s\n' "$(cat "$P/evil")" \
  > "$P/data/published/e-1.tsv"
ask youtube_uploader build_index
gives 0 '*"videos":2}' a title with markup
says channel/index.html '&lt;script&gt;alert(1)&lt;/script&gt;'
ask scriptwriter generate_script MOA_PARAM_VIDEO=../x
gives 64 '' a video that is a path
ask content_curator pick MOA_PARAM_NOW=tomorrow
gives 64 '' a time that is none

# ---- continuous-monitoring
project continuous-monitoring
USES=$box/bin:$box/text
ask agent19 status
gives 0 '{"version":"","healthy":false,"releases":\["1.0.0","1.1.0","1.2.0"\]}' nothing is live
ask agent19 rollback
gives 66 '' a rollback of nothing
ask visitors send
gives 0 '{"version":"none","requests":0,*' visitors of nothing
for version in 1.0.0 1.1.0 1.2.0; do
  run=$version
  for twice in 1 2; do
    ask agent19 deploy MOA_PARAM_VERSION="$version"
    gives 0 "{\"version\":\"$version\",*" agent19.deploy "$version" "$twice"
  done
done
run=1
ask agent19 deploy MOA_PARAM_VERSION=../x
gives 64 '' a version that is a path
ask visitors send MOA_PARAM_REQUESTS=50
gives 0 '{"version":"1.2.0","requests":50,*"broken":10}' visitors.send
ask agent9 track_errors
gives 0 '{"error_rate":0.2000,"version":"1.2.0",*"worst_count":10,"worst_route":"GET /quote"}' track_errors
ask agent9 track_errors MOA_PARAM_NOW=2026-03-01T00:02:00Z
gives 0 '{"error_rate":0.0000,*"since":"2026-02-28T23:57:00Z","requests":0,*' another time
for version in 1.1.0 1.0.0; do
  run=back-$version
  for twice in 1 2; do
    ask agent19 rollback
    gives 0 "*\"to\":\"$version\"}" agent19.rollback "$version" "$twice"
  done
done
run=back-none
ask agent19 rollback
gives 0 '{"rolled_back":false,"from":"1.0.0","to":""}' nothing is left to go back to
run=2
ask agent19 deploy MOA_PARAM_VERSION=1.2.0
gives 65 '' a release that was taken back
ask agent19 deploy MOA_PARAM_VERSION=1.2.0 MOA_PARAM_FORCE=true
gives 0 '{"version":"1.2.0","previous":"1.0.0",*' unless one insists

# Measurements of a machine that is known: one second passes between two of them.
proc=$box/proc
mkdir -p "$proc/1" "$proc/27"
printf 'cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n' > "$proc/stat"
printf '0.50 0.40 0.30 1/100 27\n' > "$proc/loadavg"
printf '7777.25 1\n' > "$proc/uptime"
printf 'MemTotal: 1000 kB\nMemAvailable: 50 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n' > "$proc/meminfo"
ask agent8 collect_metrics PROC_DIR="$proc"
gives 0 '*"cpu_percent":-1.0,"load1":0.50,"cpus":2,"memory_percent":95.0,"swap_percent":0.0,*"processes":2,"uptime_seconds":7777,*' the first measurement
printf 'cpu  190 0 110 900 0 0 0 0 0 0\ncpu0 0\ncpu1 0\n' > "$proc/stat"
run=3
for twice in 1 2; do
  ask agent8 collect_metrics PROC_DIR="$proc"
  gives 0 '*"cpu_percent":50.0,*' half of the time between two measurements was busy "$twice"
done
ask agent8 check_limits
gives 0 '{"problems":\["memory: 95.0 % used"*\],"ok":false}' agent8.check_limits
REQUEST='{"params":{"problems":["memory: 95.0 % used","disk: 97 % used"]}}'
for twice in 1 2; do
  ask agent9 sync_incidents
  gives 0 '{"opened":\["memory: 95.0 % used","disk: 97 % used"\],"closed":\[\],"open":2}' "$twice"
done
run=4
REQUEST='{"params":{"problems":["disk: 98 % used"]}}'
ask agent9 sync_incidents
gives 0 '{"opened":\[\],"closed":\["memory: 95.0 % used"\],"open":1}' one is over, one goes on
REQUEST='{"params":{"problems":[]}}'
ask agent9 daily_report MOA_PARAM_DAY="$(date -u +%Y-%m-%d)"
gives 0 '{"report":"reports/*.md","removed":0}' agent9.daily_report
says "reports/$(date -u +%Y-%m-%d).md" '| 1.2.0 | 50 | 10 |'
ask agent9 daily_report MOA_PARAM_NOW=2126-03-01T00:05:00Z
gives 0 '*"removed":[1-9]*' what is old goes
REQUEST='{}'

printf '%d checks, %d failed\n' "$checks" "$failed"
[ "$failed" -eq 0 ]
