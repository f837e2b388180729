"""The site has the repository's own folders, so that the documents' links to each other hold in both."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PATTERNS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "assets/*.png")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, and those of the repository that the documents consist of or link to."""
    theme = [file for file in files if not file.src_uri.endswith((".md", ".py"))]
    paths = [path.relative_to(ROOT).as_posix() for pattern in PATTERNS for path in ROOT.glob(pattern)]
    own = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in paths]
    return Files([*theme, *own])
