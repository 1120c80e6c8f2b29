function love.conf(t)
  t.window.title = "oaichat"
  t.window.width, t.window.height = 480, 320
  t.modules.audio, t.modules.physics, t.modules.joystick = false, false, false
end
