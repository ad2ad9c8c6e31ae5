// The numbers under the pointer, below the curve. What is shown is set as text, never as markup.
const charts = JSON.parse(document.getElementById("charts").textContent);
document.querySelectorAll("figure[data-chart]").forEach((figure) => {
  const chart = charts[Number(figure.dataset.chart)];
  const svg = figure.querySelector("svg"), told = figure.querySelector(".told"), cursor = svg.querySelector(".cursor");
  const format = new Intl.NumberFormat("en", { maximumSignificantDigits: 5 });
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * chart.width;
    const share = (place - chart.left) / (chart.right - chart.left);
    const x = chart.x0 + Math.min(1, Math.max(0, share)) * (chart.x1 - chart.x0);
    let nearest = null;
    const texts = chart.series.map((one) => {
      let best = 0;
      one.points.forEach((point, index) => {
        if (Math.abs(point[0] - x) < Math.abs(one.points[best][0] - x)) best = index;
      });
      const point = one.points[best];
      if (nearest === null || Math.abs(point[0] - x) < Math.abs(nearest - x)) nearest = point[0];
      return `${one.letter} ${format.format(point[1])} (${format.format(point[0])})`;
    });
    told.textContent = texts.join("   ");
    const at = chart.left + (nearest - chart.x0) / (chart.x1 - chart.x0) * (chart.right - chart.left);
    cursor.setAttribute("transform", `translate(${at} 0)`);
    cursor.style.visibility = "visible";
  });
  svg.addEventListener("pointerleave", () => {
    told.textContent = "";
    cursor.style.visibility = "hidden";
  });
});
