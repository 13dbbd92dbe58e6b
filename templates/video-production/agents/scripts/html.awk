# Writing HTML: everything that comes from files goes through escaped().

function escaped(text) {
  gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
  gsub(/"/, "\\&quot;", text); gsub(/'/, "\\&#39;", text)
  return text
}

function head(title) {
  print "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">"
  print "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
  printf "<title>%s</title>\n<style>\n", escaped(title)
  print "body { font-family: system-ui, sans-serif; max-width: 72rem; margin: auto; padding: 1rem }"
  print "ul { display: grid; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr));"
  print "  gap: 1.5rem; list-style: none; padding: 0 }"
  print "img, video { width: 100%; aspect-ratio: 16 / 9; object-fit: cover; background: #14202b }"
  print "small { color: #5a6b78 } table { border-collapse: collapse }"
  print "td { padding: .2rem .6rem .2rem 0 } pre { white-space: pre-wrap }\n</style>"
  printf "<h1>%s</h1>\n", escaped(title)
}
