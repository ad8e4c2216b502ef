;; tries: a core module whose description of its world is noise
;; ends: refused: no component can be made of this core module
;; world: module
(@custom "component-type:lies" "\00\01\02\ff\ff\ff\ff")
(func (export "_start"))
(memory (export "memory") 1)
