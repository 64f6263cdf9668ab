! SPDX-License-Identifier: Apache-2.0
! A serial host with (nproma, level, block) arrays and a ragged last block; coupled as docs/coupling_a_host.md says.
program blocks
   use, intrinsic :: iso_fortran_env, only: real64
   use coupler_plugin, only: coupler_t
   implicit none
   integer, parameter :: nproma = 4, nlev = 3, nblocks = 3, npromz = 2
   type(coupler_t) :: coupler
   integer :: id(nproma, nblocks), i
   real(real64), target :: lon(nproma, nblocks), lat(nproma, nblocks), t(nproma, nlev, nblocks)
   real(real64), target :: swdown(nproma, nblocks), lai(nproma, nblocks)
   real(real64) :: expected(nproma, nblocks)

   lon(:, :) = 10
   lat(:, :) = 50
   swdown(:, :) = 200
   t(:, :, :) = -999
   t(:, nlev, :) = reshape([(280 + 0.1_real64*i, i=1, nproma*nblocks)], [nproma, nblocks])
   expected(:, :) = 0.01*(t(:, nlev, :) - 273.15) + 0.2
   lai(:, :) = -1
   expected(npromz + 1:, nblocks) = -1
   lon(npromz + 1:, nblocks) = huge(1.0_real64)  ! whatever stands in the unused places
   t(npromz + 1:, :, nblocks) = 1e300_real64
   call couple(lon, lat, t, swdown, lai)
   do i = 1, 2
      call coupler%step()
   end do
   call coupler%finalize()
   print '(a, l1)', 'blocks=', all(abs(lai - expected) < 1e-5)
contains
   include 'blocks.inc'
end program blocks
