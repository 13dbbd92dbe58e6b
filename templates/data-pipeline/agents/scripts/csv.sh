# Comma-separated values (RFC 4180, one record a line) for POSIX shell.

# csv_split LINE: sets FIELDS to the number of fields and F1, F2, … to the fields.
# False when a quote is not closed.
csv_split() {
  FIELDS=0
  _rest=${1%"$CR"},
  while [ -n "$_rest" ]; do
    FIELDS=$((FIELDS + 1))
    case $_rest in
      \"*)
        _field=''
        _rest=${_rest#?}
        while :; do
          case $_rest in *\"*) ;; *) return 1 ;; esac
          _field=$_field${_rest%%\"*}
          _rest=${_rest#*\"}
          case $_rest in
            \"*) _field="$_field\""; _rest=${_rest#?} ;;
            ,*) _rest=${_rest#,}; break ;;
            *) return 1 ;;
          esac
        done ;;
      *)
        _field=${_rest%%,*}
        _rest=${_rest#*,} ;;
    esac
    eval "F$FIELDS=\$_field"
  done
}

# csv_quote TEXT: sets CSV to TEXT as a field, quoted where it must be.
csv_quote() {
  case $1 in
    *[,\"]* | \ * | *\ )
      CSV=''
      _rest=$1
      while :; do
        case $_rest in *\"*) ;; *) break ;; esac
        CSV="$CSV${_rest%%\"*}\"\""
        _rest=${_rest#*\"}
      done
      CSV="\"$CSV$_rest\"" ;;
    *) CSV=$1 ;;
  esac
}

# trim TEXT: sets TRIMMED to TEXT without blanks at its ends.
trim() {
  TRIMMED=$1
  while :; do
    case $TRIMMED in
      [\ $TAB]*) TRIMMED=${TRIMMED#?} ;;
      *[\ $TAB]) TRIMMED=${TRIMMED%?} ;;
      *) return 0 ;;
    esac
  done
}

# to_fixed TEXT DIGITS: sets FIXED to a decimal number as an integer of its DIGITS-th decimals
# (12.5 with 2 is 1250), rounded half away from zero. False when TEXT is no such number.
to_fixed() {
  _sign=''
  _n=$1
  case $_n in -*) _sign=-; _n=${_n#-} ;; esac
  case $_n in
    '' | . | *[!0-9.]* | *.*.* | ????????????*) return 1 ;;
    *.*) FIXED=${_n%%.*}; _n=${_n#*.}0000000 ;;
    *) FIXED=$_n; _n=0000000 ;;
  esac
  _digits=$2
  while [ "$_digits" -gt 0 ]; do
    FIXED=$FIXED${_n%"${_n#?}"}
    _n=${_n#?}
    _digits=$((_digits - 1))
  done
  while :; do # a zero in front would make it octal
    case $FIXED in 0?*) FIXED=${FIXED#0} ;; *) break ;; esac
  done
  case $_n in [5-9]*) FIXED=$((FIXED + 1)) ;; esac
  if [ "$FIXED" -ne 0 ]; then FIXED=$_sign$FIXED; fi
}

# from_fixed NUMBER DIGITS: sets DECIMAL to the text of such an integer; DIGITS is 1 or 2.
from_fixed() {
  _n=$1
  _sign=''
  case $_n in -*) _sign=-; _n=${_n#-} ;; esac
  if [ "$2" -eq 1 ]; then
    DECIMAL=$_sign$((_n / 10)).$((_n % 10))
  else
    _cents=$((_n % 100))
    [ "$_cents" -gt 9 ] || _cents=0$_cents
    DECIMAL=$_sign$((_n / 100)).$_cents
  fi
}

# divide A B: sets QUOTIENT to A/B rounded half away from zero; B is above zero.
divide() {
  if [ "$1" -ge 0 ]; then
    QUOTIENT=$((($1 * 2 + $2) / ($2 * 2)))
  else
    QUOTIENT=$((($1 * 2 - $2) / ($2 * 2)))
  fi
}

CR=$(printf '\r')

# Sums of money need more than 32 bits; every usual sh has 64, mksh has not.
[ $((2147483647 + 1)) -gt 0 ] || fail 69 'this sh counts with 32 bits; use dash, bash or busybox sh'
