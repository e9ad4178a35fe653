"""Settings of the documentation; build it with ``sphinx-build -W -n -b html docs docs/_build/html``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions"), str(DOCS.parent / "examples")]

import torch  # noqa: E402

import normgrad_attr  # noqa: E402

# More threads than free cores make a small network slower; OMP_NUM_THREADS has the last word.
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))

project = "normgrad_attr"
author = "The normgrad_attr developers"
copyright = f"2026, {author}"
version = release = normgrad_attr.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # In docs/extensions; each is described at its top.
    "mathtext_svg",
    "made_at_build",
    "elsewhere",
]
exclude_patterns = [
    "_build",
    "results/**",
    "made/*.md",
    "gallery/*.ipynb",
    "gallery/*.zip",
    "gallery/*.py",
    "gallery/*.json",
]
nitpicky = True
nitpick_ignore = [
    ("py:class", "Layer"),  # attribution.Layer, a module or its name
    *[
        ("py:class", n)
        for n in (
            "Attribution",
            "Figure",
            "Map",
            "Picture",
            "Stretched",
            "UserError",
            # Names of types in signatures, each said in a docstring.
            "Combination",
            "ForwardFunc",
            "Inputs",
            "InputsT",
            "MapsT",
            "Outputs",
            "Target",
            "Weights",
            "normgrad_attr._attribution.MapsT",
            "normgrad_attr._combined.InputsT",
            "collections.abc.Collection",
            "collections.abc.Iterator",
            "Record",
            "benchmarks.data.records.Split",
            "os.PathLike",
            "benchmarks.metrics.annotated.Annotations",
            "benchmarks.metrics.frame.Pieces",
            "benchmarks.metrics.frame.Stretched",
            "benchmarks.methods.layer_choice.Layers",
            "benchmarks.methods.shared_pass.SharedPass",
            "SharedPass",
            "Layers",
            # What an evaluation is made of, for its attributes; users have the tables.
            "benchmarks.evaluation.result.Further",
            "benchmarks.evaluation.result.Seen",
            "benchmarks.evaluation.questions.Asked",
            "benchmarks.report.results.Results",
            "benchmarks.run.config.Config",
            "benchmarks.scoring.job.Job",
            "PIL.Image.Image",
            "pandas.DataFrame",
        )
    ],
    ("py:func", "stretch"),
    ("py:obj", "normgrad_attr._attribution.MapsT"),
    ("py:class", "captum._utils.typing.ModuleOrModuleList"),  # type parameter of a base class
]
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold classes

html_math_renderer = "mathtext_svg"
html_theme = "furo"
html_title = f"normgrad_attr {release}"
html_static_path = ["static"]
html_css_files = ["normgrad.css"]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "min_reported_time": 1e9,  # times differ from build to build
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("normgrad_attr",),
    "image_srcset": ["2x"],
}
