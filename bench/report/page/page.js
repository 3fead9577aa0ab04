/* Paints the charts of the page, in the colours of its style; ../charts.ts says what is in a chart. */
;(() => {
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()

  /** The line across a chart, under its bars, and the whiskers, over them. */
  const marksPlugin = {
    id: 'marks',
    beforeDatasetsDraw({ ctx, chartArea, scales, options }) {
      const { line, axis } = options.plugins.marks
      if (!line) return
      const at = scales[axis].getPixelForValue(line)
      ctx.save()
      ctx.strokeStyle = color('text')
      ctx.setLineDash([5, 4])
      ctx.beginPath()
      if (axis === 'x') {
        ctx.moveTo(at, chartArea.top)
        ctx.lineTo(at, chartArea.bottom)
      } else {
        ctx.moveTo(chartArea.left, at)
        ctx.lineTo(chartArea.right, at)
      }
      ctx.stroke()
      ctx.restore()
    },
    afterDatasetsDraw(chart) {
      const { ctx, scales } = chart
      const { axis } = chart.options.plugins.marks
      ctx.save()
      ctx.strokeStyle = color('text')
      ctx.globalAlpha = axis === 'x' ? 0.8 : 0.35
      for (const [i, { marks }] of chart.data.datasets.entries()) {
        if (!chart.isDatasetVisible(i)) continue
        for (const [row, element] of chart.getDatasetMeta(i).data.entries()) {
          const mark = marks[row]
          if (!mark || mark.low === mark.high) continue
          const [low, high] = [mark.low, mark.high].map((end) => scales[axis].getPixelForValue(end))
          ctx.beginPath()
          if (axis === 'x') {
            ctx.moveTo(low, element.y)
            ctx.lineTo(high, element.y)
            for (const end of [low, high]) {
              ctx.moveTo(end, element.y - 3)
              ctx.lineTo(end, element.y + 3)
            }
          } else {
            ctx.moveTo(element.x, low)
            ctx.lineTo(element.x, high)
          }
          ctx.stroke()
        }
      }
      ctx.restore()
    },
  }

  /** The least and the most that the value axis must show. */
  function rangeOf({ series, line, scale }) {
    const marks = series.flatMap(({ marks }) => marks.filter((mark) => mark !== null))
    const ends = [...marks.flatMap(({ low, high }) => [low, high]), ...(line ? [line] : [])]
    const [least, most] = [Math.min(...ends), Math.max(...ends)]
    return scale === 'log' ? { min: least / 1.1, max: most * 1.1 } : { min: 0, max: most * 1.04 }
  }

  /** Round factors within the range, near enough to each other to read values between them. */
  function factorsWithin({ min, max }) {
    const step = max / min < 1.7 ? 0.1 : max / min < 5 ? 0.5 : null
    const factors = []
    if (step) {
      for (let i = Math.ceil(min / step); i * step <= max; i++) factors.push(i * step)
    } else {
      for (let decade = 10 ** Math.floor(Math.log10(min)); decade <= max; decade *= 10) {
        factors.push(...[1, 2, 3, 5].map((digit) => digit * decade))
      }
    }
    return factors.filter((factor) => factor >= min && factor <= max)
  }

  function valueAxis(chart, range) {
    const axis = { ...range, title: { display: true, text: chart.axis }, grid: { color: color('rule') } }
    if (chart.scale === 'linear') return { ...axis, type: 'linear', ticks: { includeBounds: false } }
    return {
      ...axis,
      type: 'logarithmic',
      ticks: { autoSkip: false, callback: (value) => `${Number(value.toPrecision(3))}x` },
      afterBuildTicks: (scale) => {
        scale.ticks = factorsWithin(range).map((value) => ({ value }))
      },
    }
  }

  function shareAxis(chart, range, position) {
    return {
      type: 'linear',
      axis: position === 'top' ? 'x' : 'y',
      position,
      min: 0,
      max: range.max / chart.full,
      grid: { drawOnChartArea: false },
      ticks: {
        stepSize: 0.2,
        includeBounds: false,
        callback: (value) => `${Math.round(100 * value)} %`,
      },
    }
  }

  function configOf(chart) {
    const range = rangeOf(chart)
    const crowded = Boolean(chart.operations)
    const axis = crowded ? 'y' : 'x'
    const datasets = chart.series.map(({ name, color: index, marks }) => ({
      label: name,
      marks,
      data: marks.map((mark, row) => {
        if (!mark) return crowded ? { x: chart.operations[row], y: Number.NaN } : null
        return crowded ? { x: chart.operations[row], y: mark.value } : mark.value
      }),
      backgroundColor: color(`series-${index}`),
      ...(crowded
        ? { pointRadius: 3 }
        : {
            base: chart.scale === 'log' ? chart.line : 0,
            maxBarThickness: 14,
            categoryPercentage: 0.8,
            barPercentage: 0.9,
          }),
    }))
    const rows = crowded
      ? {
          type: 'logarithmic',
          title: { display: true, text: 'operations of one call' },
          grid: { color: color('rule') },
          ticks: { callback: (value) => (/^1e/.test(value.toExponential()) ? value.toExponential() : null) },
        }
      : { grid: { display: false }, ticks: { autoSkip: false } }
    const share = chart.full && { share: shareAxis(chart, range, crowded ? 'right' : 'top') }
    return {
      type: crowded ? 'scatter' : 'bar',
      data: { labels: chart.rows, datasets },
      options: {
        indexAxis: crowded ? 'x' : 'y',
        animation: false,
        maintainAspectRatio: false,
        color: color('text'),
        scales: {
          [axis]: valueAxis(chart, range),
          [crowded ? 'x' : 'y']: rows,
          ...share,
        },
        plugins: {
          marks: { line: chart.line, axis },
          legend: { position: 'bottom', labels: { boxWidth: 12 } },
          tooltip: {
            callbacks: {
              title: ([item]) => chart.rows[item.dataIndex].join('\n'),
              label: ({ dataset, dataIndex }) => `${dataset.label}: ${dataset.marks[dataIndex].text}`,
            },
          },
        },
      },
      plugins: [marksPlugin],
    }
  }

  // All rows of a bar chart are as high as the highest.
  function heightOf({ operations, rows, series }) {
    if (operations) return 380
    const lines = Math.max(...rows.map((row) => row.length))
    return 120 + rows.length * Math.max(14 * series.length + 10, 15 * lines)
  }

  const charts = JSON.parse(document.getElementById('charts').textContent)
  let painted = []

  function paint() {
    for (const chart of painted) chart.destroy()
    Chart.defaults.color = color('faint')
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily
    painted = charts.map((chart, index) => {
      const canvas = document.querySelector(`canvas[data-chart="${index}"]`)
      canvas.closest('figure').hidden = false
      canvas.parentElement.style.height = `${heightOf(chart)}px`
      return new Chart(canvas, configOf(chart))
    })
  }

  paint()
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', paint)
})()
