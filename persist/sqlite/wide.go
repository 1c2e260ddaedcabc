package sqlite

import (
	"context"
	"database/sql"
	"strings"
)

// widths are the numbers of rows that a wide statement is prepared for, widest first.
var widths = [...]int{32, 8, 1}

// wide is one statement over a list of rows, prepared for each of widths, so that a batch takes few calls.
// It must not need a statement journal, which costs more than the calls: see prepareWide.
type wide struct {
	columns int
	stmts   [len(widths)]*sql.Stmt
}

// prepare makes the statements before + VALUES (rows) + after.
func (w *wide) prepare(ctx context.Context, db *sql.DB, columns int, before, after string) error {
	w.columns = columns
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	list := make([]prepared, 0, len(widths))
	for i, rows := range widths {
		list = append(list, prepared{&w.stmts[i], before + " VALUES " + row + strings.Repeat(", "+row, rows-1) + " " + after})
	}
	return prepareAll(ctx, db, list)
}

// execWide runs w for all rows, whose columns args lists one after the other.
func (t *transaction) execWide(ctx context.Context, w *wide, args []any) error {
	for i, rows := range widths {
		for n := rows * w.columns; len(args) >= n; args = args[n:] {
			if err := t.exec(ctx, w.stmts[i], args[:n]...); err != nil {
				return err
			}
		}
	}
	return nil
}
