"""How the page looks: title, style sheet. Nothing is fetched from elsewhere."""

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
figure.chart, figure.plane { margin: 0 0 1rem }
figure.chart svg, figure.plane svg { width: 100%; height: auto; display: block }
figure.plane svg { background: #fff; border: 1px solid var(--border-color-primary); border-radius: 8px }
.chart text { font-size: 11px; fill: var(--body-text-color-subdued) }
.chart polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
.chart .grid { stroke: var(--border-color-primary) }
.chart .mark { stroke: var(--body-text-color); stroke-dasharray: 3 3 }
.chart figcaption { font-weight: 600 }
figcaption { display: flex; flex-wrap: wrap; gap: .3rem 1rem; align-items: center; padding: .3rem 0 }
figcaption span { display: inline-flex; align-items: center; gap: .35rem; font-weight: 400; font-size: .9em }
figcaption i { width: .8em; height: .8em; border-radius: 50%; display: inline-block }
.plane circle { fill-opacity: .8 }
.plane g.cloud { fill: #0072B2 } .plane i.cloud { background: #0072B2 }
.plane g.one-step { fill: #D55E00 } .plane i.one-step { background: #D55E00 }
.plane g.bridge { fill: #009E73 } .plane i.bridge { background: #009E73 }
.plane polyline { fill: none; stroke-width: 1.3; stroke-opacity: .55 }
.plane .way { stroke: #009E73 } .plane .jump { stroke: #D55E00; stroke-dasharray: 3 4 }
.readings { display: grid; grid-template-columns: repeat(auto-fit, minmax(120px, 1fr)); gap: .6rem;
  margin: .4rem 0 1rem }
.readings div { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .5rem .7rem;
  font-size: .85em; color: var(--body-text-color-subdued) }
.readings b { display: block; font-size: 1.5rem; color: var(--body-text-color) }
"""
