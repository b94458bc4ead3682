
if (typeof startSamples === "function" && byId("rows")) startSamples();
startFrame();
