"""The page's title and style sheet. Nothing is fetched from elsewhere."""

TITLE = """
<header class="title">
<h1>Score distillation as a bridge</h1>
<p>Images and 3D from a diffusion model, by moving a render from where it is to where the prompt wants it.
<a href="https://arxiv.org/abs/2406.09417">McAllister et al., NeurIPS 2024</a></p>
</header>
"""
CSS = """
.gradio-container { max-width: 1180px !important; width: 100% !important; margin: 0 auto !important }
.title h1 { font-size: 1.7rem; margin: .4rem 0 .2rem }
.title p, .note { color: var(--body-text-color-subdued) }
.scenes > * { flex-basis: 30% !important }
.cm-scroller { min-height: 0 !important }
.time { min-height: 1.6em }
#image-picture img, #compare-picture img { width: 100%; max-height: 640px; object-fit: contain;
  image-rendering: pixelated }
.plane { margin: 0 0 1rem }
.plane svg { width: 100%; height: auto; display: block; background: #fff; border-radius: 8px;
  border: 1px solid var(--border-color-primary) }
.plane .cloud { color: #0072B2 } .plane .one-step { color: #D55E00 } .plane .bridge { color: #009E73 }
.plane path { fill: none; stroke: currentColor; stroke-width: 1.3; stroke-opacity: .55 }
.plane path.one-step { stroke-dasharray: 3 4 }
.plane path.dots { stroke-width: 10; stroke-linecap: round; stroke-opacity: .8; stroke-dasharray: none }
.plane figcaption { display: flex; flex-wrap: wrap; gap: .3rem 1rem; padding: .3rem 0; font-size: .9em }
.plane figcaption span::before { content: "\\25CF\\00A0" }
"""
