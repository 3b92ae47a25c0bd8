# The records of README.md as lines of text, for tools that read and write lines.
tab=$(printf '\t')

# plain COUNT SEPARATOR: key, separator, value.
plain() {
	awk -v n="$1" -v sep="$2" 'BEGIN {
		for (i = 0; i < 80; i++) x = x "x"
		for (i = 0; i < n; i++) print "key-" i % 100 sep "value-" i "-" x
	}'
}

# slowly COUNT SECONDS SEPARATOR: the same, in 50 parts a second.
slowly() {
	plain "$1" "$3" | awk -v part=$(($1 / ($2 * 50))) -v pause=0.02 '
		{ print } NR % part == 0 { fflush(); system("sleep " pause) }'
}

# plain_read COUNT: offset|key|value, as the consumers print it.
plain_read() { plain "$1" '|' | awk '{ print NR - 1 "|" $0 }'; }

# odd BEFORE SEPARATOR: what stands before the key, key, separator, value; NULL is null.
odd() {
	awk -v before="$1" -v sep="$2" 'BEGIN {
		for (i = 0; i < 10; i++) print before (i % 5 ? "k" i : "NULL") sep (i % 3 == 1 ? "NULL" : "v" i)
	}'
}

# odd_read HEADERS: offset HEADERS|key|value.
odd_read() { odd '' '|' | awk -v h="$1" '{ print NR - 1 h "|" $0 }'; }

# same_as COMMAND...: stdin must be what the command prints.
same_as() {
	expected=$(mktemp)
	"$@" >"$expected"
	if diff "$expected" - >"$expected.diff"; then status=0; else status=1; head -n 6 "$expected.diff" | cut -c 1-200 >&2; fi
	rm -f "$expected" "$expected.diff"
	return $status
}

# fail_on WORD: passes stdin on to stderr; a line with WORD in it is a failure.
fail_on() {
	awk -v word="$1" '{ print > "/dev/stderr" } index($0, word) { bad = 1 } END { exit bad }'
}

# one_large BYTES: one line.
one_large() { awk -v n="$1" 'BEGIN { x = "x"; while (length(x) < n) x = x x; print substr(x, 1, n) }'; }

# verdict OUTPUT WORD: the record was refused if WORD stands in the output.
verdict() {
	case $1 in
	*"$2"*) echo "refused: $(echo "$1" | tr '\n' ' ' | cut -c 1-600)" ;;
	*) echo written ;;
	esac
}

# until_stdin_ends FUNCTION ARGS...: calls it, and asks what it executes by $via to end when
# stdin does; a member of a group then leaves.
until_stdin_ends() {
	exec 3<&0
	via=exec "$@" 3<&- &
	while read -r _ <&3; do :; done
	kill -TERM $! 2>/dev/null
	wait $! || [ $? = 143 ] # a shell's word for the end that was asked for
}
