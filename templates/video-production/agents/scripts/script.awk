# Writes the script of a video from knowledge atoms: lines of kind, atom, heading and spoken text.
# Read after text.awk. Given by -v: format, title, question, promise, channel, opening, closing,
# words_max, seed (a number that varies the wording) and reasons (what a committee had against the
# revision before). The files are the atoms; the first one is what the video is about.

function section_end() {
  if (section != "") { gsub(/  +/, " ", text); sub(/ $/, "", text); part[atoms, section] = text }
  section = ""; text = ""
}

FNR == 1 {
  section_end()
  atoms++
  id[atoms] = FILENAME
  sub(/.*\//, "", id[atoms]); sub(/\.md$/, "", id[atoms])
  name[atoms] = substr($0, 3)
  next
}
/^## / { section_end(); section = substr($0, 4); next }
section == "" && /^- / {
  key = $2; sub(/:$/, "", key)
  line = $0; sub(/^- [a-z]+: */, "", line)
  meta[atoms, key] = line
  next
}
section == "Check" && /^Q: / { section = "Question"; text = substr($0, 4) " "; next }
section == "Question" && /^A: / { section_end(); section = "Answer"; text = substr($0, 4) " "; next }
section != "" && NF { text = text $0 " " }

# say(KIND, ATOM, HEADING, TEXT, OPTIONAL)
function say(kind, atom, heading, words, optional) {
  if (words == "") return
  if (want("readability")) words = shorter_sentences(words)
  kinds[++segments] = kind; of[segments] = atom; headings[segments] = heading
  spoken[segments] = words; may_go[segments] = optional
  total += count_words(words)
}

function want(reason) { return index(" " reasons " ", " " reason " ") > 0 }

# One of several wordings, always the same one for the same seed.
function one_of(list,  parts, n) {
  n = split(list, parts, "|")
  return parts[(seed + ++turn) % n + 1]
}

# Cuts long sentences where a conjunction joins two of them.
function shorter_sentences(words,  out, at, rest, head) {
  rest = words; out = ""
  while (match(rest, /[.!?] /) || rest != "") {
    at = match(rest, /[.!?] /)
    head = at ? substr(rest, 1, at) : rest
    rest = at ? substr(rest, at + 2) : ""
    if (count_words(head) > 14) {
      while ((at = match(head, /(, and |, but |, so |; )/)) > 0) {
        out = out substr(head, 1, at - 1) ". "
        head = capital(substr(head, at + (substr(head, at, 1) == ";" ? 2 : 2)))
        sub(/^And /, "", head)
        head = capital(head)
      }
    }
    out = out head " "
  }
  sub(/ $/, "", out)
  return out
}

# What it is about: the main atom, and any one that wasn't covered enough, as a whole.
function idea(a) {
  if ((a == 1 && format != "quiz") || want("coverage") || want("too_short")) return part[a, "Idea"]
  return first_sentence(part[a, "Idea"])
}

function begin_part(i, a) {
  if (counter == "") counter = one_of("Part|Point|Step")
  return counter " " (i == 1 ? "one" : i == 2 ? "two" : "three") ". " name[a] ". "
}

function example(a, optional) {
  say("example", a, "Example", one_of("Take an example.|Here are numbers.|Now a real case.") " " \
    part[a, "Example"], optional)
}

function mistake(a, optional) {
  say("mistake", a, "A common mistake", one_of("What goes wrong.|A common mistake.|Watch out here.") \
    " " part[a, "Mistake"], optional)
}

function safety(a, words, optional) {
  say("safety", a, "Safety", one_of("Stay safe.|A word on safety.|Before you touch it.") " " words, \
    optional)
  safe[a] = 1
}

function fault(a, optional) {
  say("fault", a, "A fault", one_of("Now a fault.|You may meet this one.|A case from the floor.") " " \
    part[a, "Fault"], optional)
}

function check(a) {
  say("question", a, "Question", one_of("Your turn.|A question for you.|Think for a moment.") " " \
    part[a, "Question"], 0)
  say("answer", a, "Answer", part[a, "Answer"], 0)
}

function hook() {
  if (opening == "promise")
    return "After this video you can " promise ". " question
  if (opening == "story")
    return "You stand in front of a machine. One question decides what you do next. " question
  return question " Here you learn to " promise "."
}

function farewell() {
  if (closing == "question") return "Which of these have you met at work? Tell us in a comment."
  if (closing == "next") return "There is more about this topic. Follow " channel " and see it first."
  return "Thank you for watching. Work safely."
}

# One of the three parts of a video. The same atom serves several topics, so what is said about the
# second and the third one varies with the topic.
function body(i, a,  turned) {
  say("idea", a, name[a], begin_part(i, a) idea(a), 0)
  turned = (seed + i) % 3
  if (want("coverage")) say("how", a, name[a], part[a, "How"], 0)
  if (format == "explainer") {
    if (i == 1 || turned == 0) { if (!want("coverage")) say("how", a, name[a], part[a, "How"], 0) }
    else if (turned == 1) example(a, 0)
    else fault(a, 0)
  }
  else if (format == "worked-example") example(a, 0)
  else if (format == "mistakes") mistake(a, 0)
  else if (format == "safety-brief") safety(a, part[a, "Safety"], 0)
  else if (format == "troubleshooting") fault(a, 0)
  else if (format == "quiz") check(a)
  if (i == 1) extras(a)
}

# What the main atom has beside.
function extras(a) {
  if (format == "explainer") mistake(a, 1)
  if (format == "mistakes") fault(a, 1)
  if (format == "safety-brief") mistake(a, 1)
  if (format == "worked-example" || want("too_short")) say("how", a, name[a], part[a, "How"], 1)
  if (format == "troubleshooting") check(a)
  if (want("too_short")) mistake(a, 0)
}

function recap(  i, out) {
  out = one_of("Let us sum up.|To sum up.|What stays.")
  for (i = 1; i <= atoms; i++) out = out " " first_sentence(part[i, "Idea"])
  say("recap", 0, "In short", out, 1)
}

# Leaves out what may go, from the end, until the script is short enough.
function cut_to_length(  i) {
  for (i = segments; i > 0 && total > words_max; i--)
    if (may_go[i]) { gone[i] = 1; total -= count_words(spoken[i]) }
}

END {
  section_end()
  if (want("originality")) seed += 7
  say("hook", 0, title, hook() " This is " channel ".", 0)
  goals = one_of("Three things to take away.|Three goals for today.|This is what you take home.")
  goals = goals " You can " meta[1, "objective"] "."
  for (i = 2; i <= atoms; i++) goals = goals " You can " meta[i, "objective"] "."
  say("objectives", 0, "What you will learn", goals, 0)
  for (i = 1; i <= atoms; i++) {
    a = want("originality") && i > 1 ? atoms + 2 - i : i
    body(i, a)
  }
  for (i = 1; i <= atoms; i++)
    if (!(i in safe) && (meta[i, "risk"] == "high" || want("safety")))
      safety(i, i == 1 || want("safety") ? part[i, "Safety"] : first_sentence(part[i, "Safety"]), 0)
  recap()
  say("call", 0, channel, farewell(), 0)
  cut_to_length()
  for (i = 1; i <= segments; i++)
    if (!(i in gone))
      printf "%s\t%s\t%s\t%s\n", kinds[i], of[i] ? id[of[i]] : "-", headings[i], spoken[i]
}
