import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TemplateSyntaxError } from '../../../src/cli/format/go-template-parser.ts';
import { TemplateError, compileTemplate } from '../../../src/cli/format/go-template.ts';

const data = {
  Name: '/d1',
  ID: 'abc',
  Count: 3,
  Big: 9223372036854771712n,
  On: true,
  Off: false,
  Empty: [],
  Null: null,
  List: ['x', 'y', 'z'],
  Labels: { b: '2', a: '1', 'com.x/y': 'z' },
  Nested: { Deep: { Value: 'v' } },
  Ports: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }] },
};

function render(template: string): string {
  return compileTemplate(template).execute(data);
}

describe('templates', () => {
  it.for([
    ['plain text', 'plain text'],
    ['{{.Name}}', '/d1'],
    ['{{ .Name }}-{{.Count}}', '/d1-3'],
    ['{{.Nested.Deep.Value}}', 'v'],
    ['{{.Big}}', '9223372036854771712'],
    ['{{.On}} {{.Off}} {{.Null}}', 'true false <nil>'],
    ['{{.List}} {{.Labels}} {{.Empty}}', '[x y z] map[a:1 b:2 com.x/y:z] []'],
    ['{{json .Labels}}', '{"b":"2","a":"1","com.x/y":"z"}'],
    ['{{.List | json}}', '["x","y","z"]'],
    ['{{json .Big}}', '9223372036854771712'],
    ['{{upper .ID | printf "%s-%s" "a"}}', 'a-ABC'],
    ['{{join .List ", "}}', 'x, y, z'],
    ['{{index .List 1}} {{index .Labels "com.x/y"}} {{index .Labels "nope"}}', 'y z '],
    ['{{(index (index .Ports "80/tcp") 0).HostPort}}', '8080'],
    ['{{len .List}} {{len .Name}} {{len .Labels}}', '3 3 3'],
    ['{{if .On}}yes{{else}}no{{end}}', 'yes'],
    ['{{if .Empty}}yes{{else if .Count}}three{{else}}no{{end}}', 'three'],
    ['{{range .List}}<{{.}}>{{end}}', '<x><y><z>'],
    ['{{range $i, $v := .List}}{{if $i}},{{end}}{{$i}}={{$v}}{{end}}', '0=x,1=y,2=z'],
    ['{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}', 'a=1;b=2;com.x/y=z;'],
    ['{{range .Empty}}x{{else}}none{{end}}', 'none'],
    ['{{with .Nested}}{{.Deep.Value}} {{$.ID}}{{end}}', 'v abc'],
    ['{{with .Null}}x{{else}}nil{{end}}', 'nil'],
    ['{{$x := .ID}}{{$x}}{{$x = "y"}}{{$x}}', 'abcy'],
    ['a {{- .ID -}} b', 'aabcb'],
    ['{{/* a comment */}}x', 'x'],
    ['{{"}}"}}{{`{{`}}', '}}{{'],
    ['{{eq .Count 3}} {{eq .ID "a" "abc"}} {{ne .ID "x"}} {{lt 1 2}} {{ge 2 2}}', 'true true true true true'],
    ['{{and .On .ID}} {{or .Off "z"}} {{not .Off}}', 'abc z true'],
    ['{{println .ID .Count}}', 'abc 3\n'],
    ['{{print 1 2 "x" 3}}', '1 2x3'],
    [
      '{{printf "%q %5s|%-5s|%05d %.2f %x %v%%" "a" "b" "c" 42 1.234 "hi" .List}}',
      '"a"     b|c    |00042 1.23 6869 [x y z]%',
    ],
    [
      '{{title "hello world"}} {{lower "ABC"}} {{truncate "abcdef" 3}} {{pad "x" 1 2}}|',
      'Hello World abc abc  x  |',
    ],
    ['{{split "a,b" ","}} {{slice .Name 1}} {{slice .List 1 2}}', '[a b] d1 [y]'],
    ["{{'a'}}", '97'],
  ] as const)('%s', ([template, text]) => {
    expect(render(template)).toBe(text);
  });

  it.for([
    ['{{.Name', 'template: :1: unclosed action'],
    ['{{nope .Name}}', 'template: :1: function "nope" not defined'],
    ['{{if .On}}x', 'template: :1: unexpected EOF'],
    ['{{end}}', 'template: :1: unexpected {{end}}'],
    ['{{}}', 'template: :1: missing value for command'],
  ] as const)('refuses %s as Go does', ([template, message]) => {
    expect(() => compileTemplate(template)).toThrow(TemplateSyntaxError);
    expect(() => compileTemplate(template)).toThrow(message);
  });

  it.for([
    ['{{.Nope}}', 'template: :1:2: executing "" at <.Nope>: map has no entry for key "Nope"'],
    ['{{.Nested.Nope}}', 'template: :1:9: executing "" at <.Nested.Nope>: map has no entry for key "Nope"'],
    ['{{.Null.X}}', 'template: :1:7: executing "" at <.Null.X>: nil pointer evaluating interface {}.X'],
    ['{{index .List 7}}', 'index out of range: 7'],
    ['{{join .List}}', 'expected string'],
    ['{{$nope}}', 'undefined variable'],
  ] as const)('fails on %s with the place and the reason', ([template, message]) => {
    expect(() => render(template)).toThrow(TemplateError);
    expect(() => render(template)).toThrow(message);
  });

  it('takes missing keys for zero values when told to, as Go does by the type of the map', () => {
    const template = compileTemplate('{{.Any.Nope}} {{.Any.Nope.Deeper}} [{{.Text.Nope}}]', {
      missingKey: 'zero',
    });
    expect(template.execute({ Any: { a: 1 }, Text: { a: 'b' } })).toBe('<no value> <no value> []');
  });

  it('never runs anything but its own functions', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(() => compileTemplate(`{{${name} .}}`)).toThrow(TemplateSyntaxError);
      expect(() => render(`{{.${name}}}`)).toThrow(TemplateError);
      expect(() => render(`{{.List.${name}}}`)).toThrow(TemplateError);
    }
  });

  it('gives text without actions back unchanged', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('{{')),
        (text) => {
          expect(compileTemplate(text).execute({})).toBe(text);
        },
      ),
    );
  });

  it('either renders or fails with one of its own errors, whatever it is given', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        '{{',
        '}}',
        '.',
        '.A',
        ' ',
        '|',
        '(',
        ')',
        '"',
        'if',
        'end',
        'range',
        'else',
        '$x',
        ':=',
        ',',
        '1',
        'json',
        '-',
      ),
      fc.string({ maxLength: 3 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        try {
          compileTemplate(pieces.join('')).execute({ A: { A: ['x'] } });
        } catch (error) {
          expect(error instanceof TemplateSyntaxError || error instanceof TemplateError).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
