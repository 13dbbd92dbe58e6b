#!/bin/sh
# Builds dist/app out of src/*.sh: checks the syntax of each file, then joins them in order.
set -eu
cd "${0%/*}"
mkdir -p dist

for part in src/*.sh; do
  sh -n "$part"
done

{
  printf '#!/bin/sh\n# Built from src/ by build.sh; change the sources, not this file.\nset -eu\n'
  printf 'LC_ALL=C\nexport LC_ALL\n'
  for part in src/*.sh; do
    printf '\n# ---- %s\n' "$part"
    cat "$part"
  done
} > dist/app.tmp.$$
sh -n dist/app.tmp.$$
chmod 755 dist/app.tmp.$$
mv -f dist/app.tmp.$$ dist/app
sha256sum dist/app > dist/app.sha256.tmp.$$
mv -f dist/app.sha256.tmp.$$ dist/app.sha256
printf 'built dist/app\n'
