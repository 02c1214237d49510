//! The image, and the versions in it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{document, files, items, root, sigma_pods, text};

/// An instruction of a Containerfile, with its continuation lines joined.
struct Instruction {
    name: String,
    rest: String,
}

/// The instructions of each stage.
fn stages(containerfile: &str) -> Vec<Vec<Instruction>> {
    let lines = containerfile.lines().filter(|it| !it.trim_start().starts_with('#'));
    let text: Vec<&str> = lines.collect();
    let text = text.join("\n").replace("\\\n", " ");
    let mut stages: Vec<Vec<Instruction>> = Vec::new();
    for line in text.lines().filter(|it| !it.trim().is_empty()) {
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        if name == "FROM" {
            stages.push(Vec::new());
        }
        let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(stage) = stages.last_mut() {
            stage.push(Instruction { name: name.to_owned(), rest });
        }
    }
    stages
}

fn at(stage: &[Instruction], name: &str, part: &str) -> Result<usize> {
    let found = stage.iter().position(|it| it.name == name && it.rest.contains(part));
    found.with_context(|| format!("no {name} with {part:?}"))
}

fn containerfile() -> Result<String> {
    Ok(fs::read_to_string(root().join("Containerfile"))?)
}

fn version() -> Result<String> {
    let cargo = fs::read_to_string(root().join("../Cargo.toml"))?;
    let version = cargo.lines().find_map(|line| line.strip_prefix("version = "));
    Ok(version.context("no version")?.trim_matches('"').to_owned())
}

#[test]
fn the_image_has_nothing_but_sigma_in_it() -> Result<()> {
    let stages = stages(&containerfile()?);
    let [build, image] = &stages[..] else { anyhow::bail!("two stages") };
    ensure!(image[0].rest == "scratch");
    let names: Vec<&str> = image.iter().map(|it| &*it.name).collect();
    ensure!(names == ["FROM", "ARG", "ARG", "ARG", "LABEL", "COPY", "USER", "ENTRYPOINT"]);
    at(image, "COPY", "--from=build /sigma /sigma")?;
    at(image, "USER", "65532:65532")?;
    at(image, "ENTRYPOINT", "[\"/sigma\"]")?;
    // Static and stripped are checked, not hoped.
    let last = &build[at(build, "RUN", "cp target/release/sigma /sigma")?].rest;
    ensure!(
        last.contains("--locked")
            && last.contains("! readelf -l target/release/sigma | grep -q INTERP")
    );
    ensure!(last.contains("! readelf -S target/release/sigma | grep -q '\\.symtab'"));
    at(build, "ENV", "CARGO_PROFILE_RELEASE_STRIP=symbols")?;
    Ok(())
}

#[test]
fn the_image_says_what_it_is() -> Result<()> {
    let stages = stages(&containerfile()?);
    let [build, image] = &stages[..] else { anyhow::bail!("two stages") };
    let labels = &image[at(image, "LABEL", "")?].rest;
    let cargo = fs::read_to_string(root().join("../Cargo.toml"))?;
    let of = |field: &str| {
        let line = cargo.lines().find_map(|line| line.strip_prefix(&format!("{field} = ")));
        line.map(str::to_owned).with_context(|| format!("no {field} in Cargo.toml"))
    };
    for (label, value) in [
        ("title", "\"sigma\"".to_owned()),
        ("description", of("description")?),
        ("licenses", of("license")?),
        ("version", "\"$VERSION\"".to_owned()),
        ("revision", "\"$REVISION\"".to_owned()),
        ("source", "\"$SOURCE\"".to_owned()),
    ] {
        let want = format!("org.opencontainers.image.{label}={value}");
        ensure!(labels.contains(&want), "no label {want}");
    }
    // An argument counts from where it stands in its stage.
    let first_label = at(image, "LABEL", "")?;
    for argument in [&format!("VERSION={}", version()?), "REVISION=", "SOURCE="] {
        ensure!(at(image, "ARG", argument)? < first_label, "{argument}");
    }
    let build_it = at(build, "RUN", "SIGMA_REVISION=\"$REVISION\" cargo build")?;
    ensure!(at(build, "ARG", "REVISION=")? < build_it);
    Ok(())
}

/// What is before the layer of the dependencies decides when it is built again.
#[test]
fn the_dependencies_are_a_layer_of_their_own() -> Result<()> {
    let stages = stages(&containerfile()?);
    let build = stages.first().context("no stage")?;
    let dependencies = at(build, "RUN", "cargo clean --release --locked -p sigma")?;
    let everything = at(build, "COPY", ". .")?;
    ensure!(dependencies < everything && everything < at(build, "ARG", "REVISION=")?);
    let before = build.iter().take(dependencies).filter(|it| it.name == "COPY" || it.name == "ARG");
    let before: Vec<&str> = before.map(|it| &*it.rest).collect();
    ensure!(before == ["Cargo.toml Cargo.lock ./"], "{before:?}");
    // The commands, but for the compiler's: cargo accepts the manifest beside the files they make.
    let commands = &build[dependencies].rest;
    let end = commands.find("&& cargo build --release --locked --bin sigma").context("no build")?;
    let dir = tempfile::tempdir()?;
    for name in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(root().join("..").join(name), dir.path().join(name))?;
    }
    let made =
        Command::new("sh").args(["-ec", &commands[..end]]).current_dir(dir.path()).status()?;
    ensure!(made.success(), "{}", &commands[..end]);
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let read = Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version=1"])
        .current_dir(dir.path())
        .output()?;
    ensure!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let removed = Command::new("sh")
        .args(["-ec", commands[end..].rsplit("&&").next().unwrap_or_default()])
        .current_dir(dir.path())
        .status()?;
    ensure!(removed.success());
    let left = fs::read_dir(dir.path())?.flatten().map(|it| it.file_name()).collect::<Vec<_>>();
    ensure!(left.len() == 2, "nothing of the empty sources is left: {left:?}");
    Ok(())
}

#[test]
fn each_version_is_said_in_one_place() -> Result<()> {
    let version = version()?;
    let [_, (_, container), _] = sigma_pods()?;
    ensure!(containerfile()?.contains(&format!("sigma:{version}")));
    ensure!(text(&container, "/image") == format!("sigma:{version}"));
    for path in ["base/kustomization.yaml", "overlays/service-mtls/kustomization.yaml"] {
        ensure!(text(&document(path)?, "/images/0/newTag") == version, "{path}");
    }
    // kube-scheduler's is the cluster's, so whoever deploys must find it.
    let kustomization = document("base/kustomization.yaml")?;
    let image =
        items(&kustomization, "/images").find(|it| text(it, "/name").ends_with("/kube-scheduler"));
    let tag = text(image.context("no image of kube-scheduler")?, "/newTag").to_owned();
    ensure!(tag.starts_with("v1."));
    let deployment = document("base/deployment.yaml")?;
    let containers = items(&deployment, "/spec/template/spec/containers");
    let images: Vec<&str> = containers.map(|it| text(it, "/image")).collect();
    ensure!(
        images == ["registry.k8s.io/kube-scheduler"],
        "its tag is in kustomization.yaml: {images:?}"
    );
    for path in files()? {
        let text = fs::read_to_string(&path)?;
        let count = text.matches("kube-scheduler:v1.").count();
        ensure!(
            count == 0,
            "{}: the version of kube-scheduler is in another place",
            path.display()
        );
    }
    let entry = format!("{{name: registry.k8s.io/kube-scheduler, newTag: {tag}}}");
    for readme in ["README.md", "../README.md"] {
        ensure!(
            fs::read_to_string(root().join(readme))?.contains(&entry),
            "{readme} lacks {entry}"
        );
    }
    Ok(())
}
