// SPDX-License-Identifier: Apache-2.0

// Package popt scans command lines by the rules of the C library popt, which
// ipvsadm's users know, or by those of getopt_long, which keepalived's know.
//
// The two differ in abbreviations (popt has none), in optional values (popt
// also takes the next word), in "=" after a short option (popt drops one) and
// in their messages.
package popt

import (
	"io"
	"strings"
)

// Arg says whether an option has a value.
type Arg uint8

// Kinds of values.
const (
	None     Arg = iota // a flag
	Required            // popt and getopt_long: attached or the next word, whatever it looks like
	Optional            // popt: attached, or the next word unless that begins with "-"; getopt_long: attached only
)

// Option is one row of an option table.
type Option struct {
	Long  string // without dashes; "" for none
	Short byte   // 0 for none
	Arg   Arg
	ID    int // what Next answers; rows with one ID are the same option
}

// Table is what a scanner knows. Where rows share a name the first counts. It may
// serve many scanners at a time.
type Table struct {
	rows  []Option
	short [256]uint8 // of each letter, the number of its row counted from 1
}

// NewTable returns a table of at most 255 rows, which it keeps.
func NewTable(rows []Option) *Table {
	if len(rows) > 255 {
		panic("popt: a table of more than 255 rows")
	}
	t := &Table{rows: rows}
	for i := range rows {
		if letter := rows[i].Short; letter != 0 && t.short[letter] == 0 {
			t.short[letter] = uint8(i + 1)
		}
	}
	return t
}

// Rows are the table's, not to be changed.
func (t *Table) Rows() []Option { return t.rows }

// Mode chooses the library whose rules count.
type Mode uint8

// Modes of scanning.
const (
	Popt Mode = iota
	GetoptLong
)

// Match is an option that was found.
type Match struct {
	ID       int
	Value    string
	HasValue bool // false: the option has none, or its optional value is absent
}

// Scanner walks one command line. It is not safe for concurrent use.
type Scanner struct {
	mode    Mode
	options *Table
	args    []string // without the program's name
	next    int      // index into args of the word to read next
	cluster string   // what is left of a cluster of short options
	words   []string // words that are no options
	posix   bool
}

// New returns a scanner of args, which do not include the program's name.
func New(mode Mode, options *Table, args []string) *Scanner {
	return &Scanner{mode: mode, options: options, args: args}
}

// SetOptions changes the table for what has not been read yet, also within a
// cluster. It serves commands after which a letter means something else.
func (s *Scanner) SetOptions(options *Table) { s.options = options }

// StopAtWord makes the first word that is no option end the options, as both
// libraries do where the environment has POSIXLY_CORRECT.
func (s *Scanner) StopAtWord() { s.posix = true }

// Word returns the word taken last, an option or its value: the one that
// messages quote. It is empty before the first call of Next.
func (s *Scanner) Word() string {
	if s.next == 0 {
		return ""
	}
	return s.args[s.next-1]
}

// Words returns the words read so far that are neither options nor values.
func (s *Scanner) Words() []string { return s.words }

// Next returns the next option, io.EOF at the end, or an [*Error]. After an
// Error the scan may go on, as both libraries let it.
func (s *Scanner) Next() (Match, error) {
	for s.cluster == "" {
		if s.next == len(s.args) {
			return Match{}, io.EOF
		}
		word := s.args[s.next]
		s.next++
		switch {
		case word == "--":
			s.words = append(s.words, s.args[s.next:]...)
			s.next = len(s.args)
			return Match{}, io.EOF
		case len(word) < 2 || word[0] != '-':
			s.words = append(s.words, word)
			if s.posix {
				s.words = append(s.words, s.args[s.next:]...)
				s.next = len(s.args)
			}
		case word[1] == '-':
			return s.long(word[2:])
		default:
			s.cluster = word[1:]
		}
	}
	return s.short()
}

// long handles a word that began with two dashes.
func (s *Scanner) long(text string) (Match, error) {
	name, value, attached := strings.Cut(text, "=")
	opt, err := s.lookup(name, text)
	if err != nil {
		return Match{}, err
	}
	m := Match{ID: opt.ID, Value: value, HasValue: attached}
	switch {
	case attached && opt.Arg == None:
		return Match{}, s.fail(Unwanted, "--"+opt.Long)
	case attached || opt.Arg == None:
		return m, nil
	}
	return s.detached(m, opt, 0)
}

// short handles the first letter of what is left of a cluster.
func (s *Scanner) short() (Match, error) {
	letter := s.cluster[0]
	s.cluster = s.cluster[1:]
	row := s.options.short[letter]
	if row == 0 {
		if s.mode == Popt {
			s.cluster = ""
		}
		return Match{}, s.fail(Unknown, string(rune(letter)))
	}
	opt := &s.options.rows[row-1]
	m := Match{ID: opt.ID}
	if opt.Arg == None {
		if s.mode == Popt && strings.HasPrefix(s.cluster, "=") {
			s.cluster = ""
			return Match{}, s.fail(Unwanted, string(rune(letter)))
		}
		return m, nil
	}
	if s.cluster != "" {
		m.Value, m.HasValue = s.cluster, true
		if s.mode == Popt {
			m.Value = strings.TrimPrefix(m.Value, "=")
		}
		s.cluster = ""
		return m, nil
	}
	return s.detached(m, opt, letter)
}

// detached looks for a value in the next word. The option was a letter unless that
// is 0.
func (s *Scanner) detached(m Match, opt *Option, letter byte) (Match, error) {
	end := s.next == len(s.args)
	if opt.Arg == Optional && (s.mode == GetoptLong || end || strings.HasPrefix(s.args[s.next], "-")) {
		return m, nil
	}
	if end {
		if letter == 0 {
			return Match{}, s.fail(Missing, "--"+opt.Long)
		}
		return Match{}, s.fail(Missing, string(rune(letter)))
	}
	m.Value, m.HasValue = s.args[s.next], true
	s.next++
	return m, nil
}

// lookup finds a long option; text is what stood after the dashes.
func (s *Scanner) lookup(name, text string) (*Option, error) {
	var near []*Option
	for i := range s.options.rows {
		opt := &s.options.rows[i]
		if opt.Long == "" {
			continue
		}
		if opt.Long == name {
			return opt, nil
		}
		if s.mode == GetoptLong && strings.HasPrefix(opt.Long, name) {
			near = append(near, opt)
		}
	}
	if len(near) == 0 {
		return nil, s.fail(Unknown, "--"+text)
	}
	for _, opt := range near[1:] {
		if opt.ID != near[0].ID || opt.Arg != near[0].Arg {
			err := s.fail(Ambiguous, "--"+text)
			for _, opt := range near {
				err.Candidates = append(err.Candidates, "--"+opt.Long)
			}
			return nil, err
		}
	}
	return near[0], nil
}

func (s *Scanner) fail(kind Kind, option string) *Error {
	return &Error{Mode: s.mode, Kind: kind, Word: s.Word(), Option: option}
}
