// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteText writes a line for each finding, its remedy on a line below it, and the
// sum of all.
func WriteText(w io.Writer, findings []Finding) error {
	severities, checks := 0, 0
	for _, f := range findings {
		severities, checks = max(severities, len(f.Severity.String())), max(checks, len(f.Check))
	}
	var b strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&b, "%-*s  %-*s  %s\n", severities, f.Severity, checks, f.Check, f.Seen)
		if f.Remedy != "" {
			fmt.Fprintf(&b, "%*s    remedy: %s\n", severities+checks, "", f.Remedy)
		}
	}
	errors, warnings := sum(findings)
	fmt.Fprintf(&b, "%s, %s\n", count(errors, "error"), count(warnings, "warning"))
	_, err := io.WriteString(w, b.String())
	return err
}

func sum(findings []Finding) (errors, warnings int) {
	for _, f := range findings {
		switch f.Severity {
		case Error:
			errors++
		case Warning:
			warnings++
		}
	}
	return errors, warnings
}

// WriteJSON writes the same as one JSON document: {"errors", "warnings", "findings":
// [{"check", "severity", "seen", "remedy"}]}; without a remedy that is "".
func WriteJSON(w io.Writer, findings []Finding) error {
	type row struct {
		Check    string `json:"check"`
		Severity string `json:"severity"`
		Seen     string `json:"seen"`
		Remedy   string `json:"remedy"`
	}
	doc := struct {
		Errors   int   `json:"errors"`
		Warnings int   `json:"warnings"`
		Findings []row `json:"findings"`
	}{Findings: []row{}}
	doc.Errors, doc.Warnings = sum(findings)
	for _, f := range findings {
		doc.Findings = append(doc.Findings, row{f.Check, f.Severity.String(), f.Seen, f.Remedy})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}
