//! A C program that prints what the public headers say, one number a line.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::Command;

use abi::FieldLayout;

const HEADERS: &[&str] = &[
    "xen",
    "errno",
    "event_channel",
    "grant_table",
    "memory",
    "sched",
    "vcpu",
    "version",
    "features",
    "elfnote",
    "callback",
    "physdev",
    "nmi",
    "domctl",
    "sysctl",
    "platform",
    "kexec",
    "pmu",
    "hypfs",
    "hvm/params",
    "hvm/hvm_op",
    "hvm/hvm_vcpu",
    "arch-x86/hvm/start_info",
    "arch-x86/cpuid",
    "arch-x86/cpufeatureset",
    "arch-x86/xen-mca",
    "io/console",
    "io/ring",
    "io/xenbus",
    "io/xs_wire",
];

struct Question {
    what: String,
    rust: i128,
    c: String,
}

/// Questions for the C compiler, each with the answer that Rust gives.
#[derive(Default)]
pub struct Program {
    questions: Vec<Question>,
    /// Items asked about, as `module::Name`.
    pub items: BTreeSet<String>,
}

impl Program {
    fn ask(&mut self, what: String, rust: i128, c: String) {
        let what = what.replace(" :: ", "::");
        self.questions.push(Question { what, rust, c });
    }

    pub fn constant(&mut self, item: &str, rust: i128, c: &str) {
        self.items.insert(item.replace(" :: ", "::"));
        self.ask(item.to_string(), rust, c.to_string());
    }

    pub fn size(&mut self, item: &str, rust: usize, c_type: &str) {
        self.ask(format!("size of {item}"), rust as i128, format!("sizeof({c_type})"));
    }

    /// `renamed` pairs a Rust field with its path in C.
    pub fn fields(&mut self, item: &str, fields: &[FieldLayout], c_type: &str, renamed: &[(&str, &str)]) {
        self.items.insert(item.replace(" :: ", "::"));
        for field in fields.iter().filter(|field| !field.name.starts_with("_pad")) {
            let c_field = renamed
                .iter()
                .find(|(rust, _)| *rust == field.name)
                .map_or(field.name.trim_end_matches('_').to_string(), |(_, c)| c.replace(' ', ""));
            self.ask(
                format!("offset of {item}.{}", field.name),
                field.offset as i128,
                format!("offsetof({c_type}, {c_field})"),
            );
            // An arm of a union may be smaller than the raw field that stands for all of them.
            if !c_field.contains('.') {
                self.ask(
                    format!("size of {item}.{}", field.name),
                    field.size as i128,
                    format!("sizeof((({c_type} *)0)->{c_field})"),
                );
            }
        }
    }

    /// The envelope of a call: all of it, and where its union begins.
    pub fn payload(&mut self, module: &str, c_struct: &str, size: usize, offset: usize) {
        self.size(&format!("{module}'s argument"), size, &format!("struct {c_struct}"));
        self.ask(
            format!("offset of {module}'s payload"),
            offset as i128,
            format!("offsetof(struct {c_struct}, u)"),
        );
    }

    /// Compiles and runs the program; each line names a difference.
    pub fn differences(&self) -> Vec<String> {
        let answers = self.run();
        let lines: Vec<&str> = answers.lines().collect();
        assert_eq!(lines.len(), self.questions.len(), "the C program stopped early");
        self.questions
            .iter()
            .zip(lines)
            .filter(|(question, line)| line.parse() != Ok(question.rust))
            .map(|(question, line)| {
                format!("{}: Rust says {}, C says {line} ({})", question.what, question.rust, question.c)
            })
            .collect()
    }

    fn source(&self) -> String {
        let mut source = String::from(
            "#define __XEN_TOOLS__ 1\n#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n",
        );
        for header in HEADERS {
            writeln!(source, "#include <xen/{header}.h>").unwrap();
        }
        source.push_str(
            "DEFINE_RING_TYPES(probe, uint32_t, uint32_t);\n\
             #define P(x) ((x) < 0 ? printf(\"%lld\\n\", (long long)(x)) \
             : printf(\"%llu\\n\", (unsigned long long)(x)))\n\
             int main(void) {\n",
        );
        for question in &self.questions {
            writeln!(source, "P({});", question.c).unwrap();
        }
        source.push_str("return 0; }\n");
        source
    }

    fn run(&self) -> String {
        let headers = PathBuf::from(std::env::var_os("XEN_HEADERS").unwrap_or("/usr/include".into()));
        assert!(
            headers.join("xen/xen.h").exists(),
            "no xen/xen.h in {}: Debian's libxen-dev has it; `cargo xtask test` fetches it and sets XEN_HEADERS",
            headers.display()
        );
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let (source, binary) = (folder.join("layout.c"), folder.join("layout"));
        std::fs::write(&source, self.source()).expect("write the C program");
        let compiled = Command::new("cc")
            .args(["-w", "-O0", "-I"])
            .arg(&headers)
            .arg("-o")
            .args([&binary, &source])
            .output()
            .expect("run cc: the layout test needs a C compiler");
        assert!(compiled.status.success(), "cc: {}", String::from_utf8_lossy(&compiled.stderr));
        let ran = Command::new(&binary).output().expect("run the C program");
        assert!(ran.status.success(), "the C program failed: {}", ran.status);
        String::from_utf8(ran.stdout).expect("numbers")
    }
}
