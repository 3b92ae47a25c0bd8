package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// mayImport says which packages of ours a package may import, its tests included.
// A path that ends in /... stands for the package and what is below it.
var mayImport = map[string][]string{
	"chronik":              {"chronik/cli"},
	"chronik/wire/batch":   {},
	"chronik/meta":         {},
	"chronik/broker/group": {},
	"chronik/broker/txn":   {},
	"chronik/wire":         {"chronik/wire/batch"},
	"chronik/logstore":     {"chronik/wire/batch"},
	"chronik/broker":       {"chronik/broker/...", "chronik/wire/...", "chronik/logstore", "chronik/meta"},
	"chronik/cli":          {"chronik/broker", "chronik/cli/...", "chronik/logstore", "chronik/meta", "chronik/wire/..."},
	"chronik/e2e":          {"chronik/e2e/chaos"},
	"chronik/e2e/bench":    {},
	"chronik/e2e/chaos":    {},
}

// goPackage is what `go list -json` says of a package.
type goPackage struct {
	ImportPath, Dir, Name  string
	GoFiles                []string
	Imports                []string
	TestImports            []string
	XTestImports           []string
	Module                 *struct{ Path string }
	IgnoredGoFiles, CFiles []string
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir, cmd.Stderr = root(t), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 2 {
		t.Fatalf("go list found %d packages", len(packages))
	}
	return packages
}

// rule returns the entry of mayImport for a package: its own, or the nearest above.
func rule(path string) ([]string, bool) {
	for p := path; p != "." && p != "/"; p = filepath.Dir(p) {
		if allowed, ok := mayImport[p]; ok && (p == path || p != "chronik") {
			return allowed, true
		}
	}
	return nil, false
}

func allows(allowed []string, path string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool {
		tree, isTree := strings.CutSuffix(a, "/...")
		return path == a || isTree && (path == tree || strings.HasPrefix(path, tree+"/"))
	})
}

func TestHouseImports(t *testing.T) {
	for _, p := range listPackages(t) {
		allowed, known := rule(p.ImportPath)
		if !known {
			t.Errorf("%s is in no rule of mayImport", p.ImportPath)
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			ours := imported == "chronik" || strings.HasPrefix(imported, "chronik/")
			if ours && imported != p.ImportPath && !allows(allowed, imported) {
				t.Errorf("%s imports %s", p.ImportPath, imported)
			}
		}
	}
}

func TestHousePackages(t *testing.T) {
	forbidden := []string{"util", "utils", "common", "types", "helper", "helpers", "misc", "base"}
	for _, p := range listPackages(t) {
		if slices.Contains(forbidden, p.Name) || slices.Contains(forbidden, filepath.Base(p.ImportPath)) {
			t.Errorf("%s: a package is named after what it holds", p.ImportPath)
		}
		if p.Name != "main" && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
		}
	}
}

// sourceFiles calls fn with every Go file of the repository, whatever its build tags.
func sourceFiles(t *testing.T, fn func(path string, source []byte)) {
	t.Helper()
	top := root(t)
	n := 0
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := d.Name(); d.IsDir() && path != top && (strings.HasPrefix(name, ".") || name == "bin" || name == "node_modules") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		short, err := filepath.Rel(top, path)
		n++
		fn(short, source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 3 {
		t.Fatalf("found %d Go files under %s", n, top)
	}
}

func TestHouseFileSizes(t *testing.T) {
	sourceFiles(t, func(path string, source []byte) {
		limit := 600
		if strings.HasSuffix(path, "_test.go") {
			limit = 800
		}
		if lines := bytes.Count(source, []byte("\n")); lines > limit {
			t.Errorf("%s has %d lines, the limit is %d", path, lines, limit)
		}
	})
}

var (
	vagueName = regexp.MustCompile(`(Manager|Helper|Helpers|Util|Utils|Service|Impl|Data|Info)$`)
	leftOver  = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)
)

// TestHouseNames refuses type names that say nothing, functions that are too long to
// be read in one go, and notes to self.
func TestHouseNames(t *testing.T) {
	const longest = 75 // 50 is the rule; beyond this nobody can call it an exception
	sourceFiles(t, func(path string, source []byte) {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.TypeSpec:
				if vagueName.MatchString(n.Name.Name) {
					t.Errorf("%s: type %s says nothing with its last word", files.Position(n.Pos()), n.Name.Name)
				}
			case *ast.FuncDecl:
				lines := files.Position(n.End()).Line - files.Position(n.Pos()).Line
				if lines > longest && !strings.HasSuffix(path, "_test.go") {
					t.Errorf("%s: function %s has %d lines", files.Position(n.Pos()), n.Name.Name, lines)
				}
			case *ast.Comment:
				if leftOver.MatchString(n.Text) {
					t.Errorf("%s: %s", files.Position(n.Pos()), n.Text)
				}
			}
			return true
		})
	})
}
